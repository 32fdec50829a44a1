"""The official conformance suite, through the whole of Penstock. It does not know that Penstock is there.

Nothing that it finds is forgiven: no list of expected failures, no warnings, and no scenario that passes
because nothing was checked. Only the tasks extension is left out: neither server has it. What is `long` says
the suite's opinion of the server itself, and of one that speaks only 2026-07-28, which the matrix covers.
"""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

import pytest

from tests.harness.conformance import CURRENT, FIRST, Report, Status, run
from tests.harness.header_proxy import HeaderProxy
from tests.harness.stack import Stack, clean_environment
from tests.servers.programs import everything_dual, everything_handshake, everything_modern

pytestmark = pytest.mark.e2e


@dataclass(frozen=True)
class Leg:
    """One run of the suite."""

    package: str
    arguments: Sequence[str]
    scenarios: int
    """Without extensions; what the suite calls unscored is among them."""
    checks: int
    """That succeed when there is nothing between suite and server; those of STREAMS are not counted."""


LEGS: Final = {
    "2025-11-25": Leg(CURRENT, ["--requirements", "2025-11-25"], 33, 79),
    "2026-07-28": Leg(CURRENT, ["--requirements", "2026-07-28"], 40, 151),
    "first": Leg(FIRST, ["--suite", "all"], 32, 42),
}
CHILDREN: Final = {"dual": everything_dual, "modern": everything_modern, "handshake": everything_handshake}
PARALLEL: Final = "server-sse-multiple-streams"
POLLING: Final = "server-sse-polling"
STREAMS: Final = frozenset({PARALLEL, POLLING})
"""How much is checked there depends on what an endpoint may choose: JSON or a stream, and when it ends."""

Measure: TypeAlias = Callable[[str, str], Report]


@contextmanager
def through_penstock(child: str) -> Iterator[str]:
    """The URL of a server behind agent and relay. The suite has no token, so a proxy brings it."""
    with HeaderProxy() as proxy:
        relay_env = {"PENSTOCK_RELAY_PUBLIC_URL": proxy.origin}
        with Stack({child: CHILDREN[child]()}, relay_env=relay_env) as stack:
            host, _, port = stack.relay.env["PENSTOCK_RELAY_LISTEN"].rpartition(":")
            proxy.target, proxy.token = (host, int(port)), stack.token
            yield stack.url(child)


@contextmanager
def directly() -> Iterator[str]:
    """The URL of the dual-era server itself."""
    server = everything_dual()
    process = subprocess.Popen(
        [*server.command, "--http"],
        env={**clean_environment(), **server.env},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def measure(tmp_path_factory: pytest.TempPathFactory) -> Measure:
    """The suite's report of a leg and a child, without extensions. Each is run once."""

    @functools.cache
    def once(name: str, child: str) -> Report:
        leg, folder = LEGS[name], tmp_path_factory.mktemp("suite") / "results"
        with directly() if child == "itself" else through_penstock(child) as url:
            report = run(leg.package, leg.arguments, url, folder)
        sys.stderr.write(f"{name}, {child}: {report.seconds:.1f} s\n")
        return report.of(lambda scenario: not scenario.startswith("tasks-"))

    return once


@pytest.mark.parametrize(
    ("leg", "child"),
    [
        pytest.param("2025-11-25", "itself", marks=pytest.mark.long),
        ("2025-11-25", "dual"),
        pytest.param("2025-11-25", "modern", marks=pytest.mark.long),
        ("2025-11-25", "handshake"),
        pytest.param("2026-07-28", "itself", marks=pytest.mark.long),
        ("2026-07-28", "dual"),
        pytest.param("first", "itself", marks=pytest.mark.long),
        pytest.param("first", "modern", marks=pytest.mark.long),
        ("first", "dual"),
        ("first", "handshake"),
    ],
)
def test_every_scenario_passes_without_a_warning(leg: str, child: str, measure: Measure) -> None:
    report = measure(leg, child)
    assert len(report.scenarios) == LEGS[leg].scenarios
    rest = report.of(lambda scenario: scenario not in STREAMS)
    assert rest.problems() == []
    assert rest.succeeded() == LEGS[leg].checks


@pytest.mark.parametrize(
    ("leg", "child"),
    [
        ("2025-11-25", "dual"),
        ("2025-11-25", "handshake"),
        ("2026-07-28", "dual"),
        ("first", "dual"),
        ("first", "handshake"),
    ],
)
def test_several_requests_of_one_client_are_answered_at_once(leg: str, child: str, measure: Measure) -> None:
    report = measure(leg, child).of(lambda scenario: scenario == PARALLEL)
    assert report.problems() == []
    assert report.statuses(PARALLEL)["server-accepts-multiple-post-streams"] is Status.SUCCESS


@pytest.mark.parametrize(
    ("leg", "child"),
    [
        ("2025-11-25", "dual"),
        ("2025-11-25", "handshake"),
        ("first", "dual"),
        ("first", "handshake"),
    ],
)
def test_a_slow_call_is_a_stream_that_can_be_resumed(leg: str, child: str, measure: Measure) -> None:
    report = measure(leg, child).of(lambda scenario: scenario == POLLING)
    assert report.problems() == []
    found = report.statuses(POLLING)
    assert found["server-sse-priming-event"] is Status.SUCCESS
    assert found["server-sse-retry-field"] is Status.SUCCESS


#: What no server of the handshake era can do, however it is bridged; `docs/revisions.md` says why.
CANNOT: Final = {
    "http-custom-header-server-validation",
    "input-required-result-basic-elicitation",
    "input-required-result-ignore-extra-params",
    "server-stateless",
}


def test_a_server_of_the_handshake_era_serves_clients_of_the_modern_one(measure: Measure) -> None:
    report = measure("2026-07-28", "handshake")
    assert len(report.scenarios) == LEGS["2026-07-28"].scenarios
    assert {problem.partition(":")[0] for problem in report.problems()} == CANNOT
    stateless = report.of(lambda scenario: scenario == "server-stateless")
    assert len(stateless.problems()) == 2, "the two about a capability that the client did not declare"
