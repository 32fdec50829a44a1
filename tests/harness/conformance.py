"""The official conformance suite: run against a URL, and what it found as values.

    report = run(CURRENT, ["--requirements", "2026-07-28"], "http://localhost:8080/mcp", folder)
    assert report.problems() == []

The suite's own exit status forgives warnings and what it calls unscored; the checks that it writes do not.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from tests.clients.drivers import FOLDER, NODE

CURRENT: Final = "@modelcontextprotocol/conformance"
FIRST: Final = "conformance-0.1"
"""Names of the suite's packages in package.json: the newest version, and the last of its first line."""
DEADLINE_S: Final = 100
ALWAYS: Final = "wire-schema-valid"
"""A check that succeeds in every scenario, also when nothing was said at all."""
_RESULT: Final = re.compile(r"server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z")


class Status(Enum):
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    WARNING = "WARNING"
    SKIPPED = "SKIPPED"
    INFO = "INFO"


FINE: Final = frozenset({Status.SUCCESS, Status.INFO})


class SuiteError(Exception):
    """The suite did not come to its end; the text holds the end of what it wrote."""


@dataclass(frozen=True)
class Check:
    scenario: str
    id: str
    status: Status
    message: str = ""

    def __str__(self) -> str:
        return f"{self.scenario}: {self.id}: {self.status.value}: {self.message}"


@dataclass(frozen=True)
class Report:
    checks: tuple[Check, ...]
    scenarios: frozenset[str]
    """All that were run, also those that checked nothing."""
    seconds: float

    def of(self, wanted: Callable[[str], bool]) -> Report:
        """The same of some scenarios only."""
        checks = tuple(check for check in self.checks if wanted(check.scenario))
        return Report(checks, frozenset(filter(wanted, self.scenarios)), self.seconds)

    def problems(self) -> list[str]:
        """What failed, warned or was skipped, in words; and scenarios that only look as if they passed."""
        wrong = [str(check) for check in self.checks if check.status not in FINE]
        checked = {c.scenario for c in self.checks if c.status is not Status.INFO and c.id != ALWAYS}
        return wrong + [f"{scenario}: nothing was checked" for scenario in sorted(self.scenarios - checked)]

    def succeeded(self) -> int:
        return sum(check.status is Status.SUCCESS for check in self.checks)

    def statuses(self, scenario: str) -> dict[str, Status]:
        """Of the checks of one scenario; an id that is there several times has its worst."""
        worst: dict[str, Status] = {}
        for check in self.checks:
            if check.scenario == scenario and worst.get(check.id) in (None, *FINE):
                worst[check.id] = check.status
        return worst


def command(package: str) -> list[str]:
    """The suite of this package. (Both have the same name in node_modules/.bin.)"""
    return [NODE, str(FOLDER / "node_modules" / package / "dist" / "index.js")]


def run(package: str, arguments: Sequence[str], url: str, folder: Path) -> Report:
    """Run the suite against `url`. `folder` takes its results and must be new. Raises SuiteError."""
    argv = [*command(package), "server", "--url", url, *arguments, "-o", str(folder)]
    began = time.monotonic()
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )
    except subprocess.TimeoutExpired as late:
        said = late.stdout.decode(errors="replace") if isinstance(late.stdout, bytes) else ""
        raise SuiteError(f"the suite was not finished after {DEADLINE_S} s:\n{said[-2000:]}") from None
    seconds = time.monotonic() - began
    if done.returncode not in (0, 1):  # 1: something scored has failed
        raise SuiteError(f"the suite ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    report = read(folder, seconds)
    if not report.scenarios:
        raise SuiteError(f"the suite ran nothing:\n{done.stderr[-2000:]}{done.stdout[-2000:]}")
    return report


def read(folder: Path, seconds: float = 0.0) -> Report:
    """What the suite left in its folder: one folder for each scenario, with checks.json in it."""
    checks: list[Check] = []
    scenarios: set[str] = set()
    for path in sorted(folder.glob("*/checks.json")):
        named = _RESULT.fullmatch(path.parent.name)
        if named is None:
            raise SuiteError(f"{path.parent.name} is not the result of a scenario")
        scenarios.add(named[1])
        checks += _checks(named[1], json.loads(path.read_text()))
    return Report(tuple(checks), frozenset(scenarios), seconds)


def _checks(scenario: str, found: Iterable[dict[str, object]]) -> Iterable[Check]:
    for each in found:
        message = str(each.get("errorMessage") or "")
        yield Check(scenario, str(each["id"]), Status(each["status"]), message)
