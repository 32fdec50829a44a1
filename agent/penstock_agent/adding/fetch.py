"""Runs the client of a registry, in the folder where a package is to be installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from penstock_agent.adding import causes
from penstock_agent.adding.packages import Wanted
from penstock_agent.problem import Problem, printable

LIMIT_S: Final = 900.0
"""For one program of the registry's client."""
NEWS_S: Final = 10.0
"""So often somebody who waits hears that it goes on."""
_TAIL: Final = 15
_MAX_FILE: Final = 16 << 20
#: Of the administrator's environment: the way out, and where to fetch from.
_PASSED: Final = re.compile(
    r"(?:PATH|LANG|TZ|SSL_CERT_FILE|SSL_CERT_DIR|NODE_EXTRA_CA_CERTS|(?:https?|all|no)_proxy)"
    r"|(?:PIP|UV|NPM_CONFIG)_.*",
    re.IGNORECASE,
)


class Prepared(msgspec.Struct, frozen=True):
    """What was installed."""

    registry: str
    name: str
    version: str
    #: Of what was fetched: npm's integrity, or the hashes of the wheel.
    integrity: str
    #: How many packages are there, this one included.
    packages: int
    folder: str
    #: What starts it instead of ``was``.
    command: list[str]
    was: list[str] = []
    #: Packages that wanted to run something when they were installed, and were not let.
    scripts: list[str] = []


class Fetch:
    """One package, its folder, and what its client is told."""

    def __init__(
        self,
        folder: Path,
        wanted: Wanted,
        scripts: bool,
        tell: Callable[[str], None],
        environ: Mapping[str, str],
    ) -> None:
        self.folder = folder
        self.wanted = wanted
        self.scripts = scripts
        self._tell = tell
        self.env = {name: value for name, value in environ.items() if _PASSED.fullmatch(name)}
        # As root for the agent's user, the home is somebody else's; caches of one's own are used.
        home = environ.get("HOME", "")
        if not (home and os.access(home, os.W_OK) and os.stat(home).st_uid == os.geteuid()):
            home = str(folder / ".home")
            os.mkdir(home, 0o700)
        self.env |= {
            "HOME": home,
            "PIP_NO_INPUT": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "NO_COLOR": "1",
        }
        self.env |= {
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_PROGRESS": "1",
            "npm_config_update_notifier": "false",
        }

    def program(self, name: str, otherwise: str) -> str:
        """Where a program of the administrator's PATH is. Raises Problem."""
        found = shutil.which(name, path=self.env.get("PATH"))
        if found is None:
            raise Problem(f"{name} is not found on PATH. {otherwise}.")
        return found

    def run(self, command: Sequence[str], otherwise: str = "") -> None:
        """Run it to its end. Raises Problem with its last lines; ``otherwise`` says what else may help."""
        begun = time.monotonic()
        log = self.folder / ".log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                while (status := _status(process)) is None:
                    passed = time.monotonic() - begun
                    if passed > LIMIT_S:
                        raise Problem(f"{os.path.basename(command[0])} did not end within {LIMIT_S:g} s.")
                    self._tell(f"  … {passed:.0f} s")
            except BaseException:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(5)
                process.kill()
                process.wait()
                raise
        if status:
            said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-_TAIL:]
            raise Problem(_explained(os.path.basename(command[0]), status, said, otherwise, self.scripts))


def _status(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(NEWS_S)
    except subprocess.TimeoutExpired:
        return None


def _explained(program: str, status: int, said: Sequence[str], otherwise: str, scripts: bool) -> str:
    found = causes.likely("NAME", [], said, offline=False)
    text = "\n".join(said)
    lines = [f"{program} failed (status {status}):", *(f"  | {printable(line, 300)}" for line in said)]
    if not scripts and re.search(
        r"only-binary|no wheel|building source distributions is disabled|--no-build", text
    ):
        lines.append(
            "There may be no built package for this machine. With --scripts it is built from its source."
        )
    elif found is not None:
        lines.append(f"{found.text} {found.step if '[servers' not in found.step else ''}".rstrip())
    if otherwise:
        lines.append(otherwise)
    return "\n".join(lines)


def read_json(path: Path) -> dict[str, object]:
    """An object of JSON that the client wrote. Raises Problem."""
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MAX_FILE))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Problem(f"{path.name} is not as expected. Is the registry's client a current one?")
    return found
