from __future__ import annotations

from dataclasses import replace

import msgspec

from penstock_agent.children.confinement.kernel import Kernel
from penstock_agent.children.containers.podman import Podman
from penstock_agent.control import ServerStatus, Status
from penstock_agent.doctor import standing
from penstock_agent.doctor.findings import Grade
from penstock_agent.ledger.entries import LedgerStatus
from penstock_agent.server_settings import ServerSettings

RUNS = Status("0.1.0", 1, "plant", "a1", "wss://relay.example:443", linked=True, since=0.0)
WHOLE = Kernel(landlock=7, seccomp=True, namespaces=True, networks=True, counts=True, machine="x86_64")
FILES = ServerSettings(command=("files",))


def bad(status: Status) -> dict[str, Grade]:
    return {each.check: each.grade for each in standing.agent(status, "0.1.0") if each.grade is not Grade.OK}


def test_a_linked_agent_is_well() -> None:
    assert bad(RUNS) == {}


def test_what_is_not_well_is_graded() -> None:
    replaced = msgspec.structs.replace
    assert bad(replaced(RUNS, version="0.0.9")) == {"agent": Grade.WARNING}
    assert bad(replaced(RUNS, linked=False, problem="No.")) == {"link": Grade.FAILED}
    assert bad(replaced(RUNS, renewal_problem="No.")) == {"certificate": Grade.WARNING}
    assert bad(replaced(RUNS, ledger=LedgerStatus(problem="full"))) == {"ledger": Grade.FAILED}
    assert bad(replaced(RUNS, withheld={"files": ["tool:a"]})) == {"tools": Grade.WARNING}


def test_an_agent_that_does_not_know_the_file_yet_is_to_reload() -> None:
    runs = msgspec.structs.replace(RUNS, servers=[ServerStatus("files")])
    assert list(standing.known(runs, {"files": FILES})) == []
    (found,) = standing.known(runs, {"files": FILES, "crm": FILES})
    assert "crm" in found.text
    assert "reload" in found.text


def test_a_kernel_without_something_says_what_it_takes() -> None:
    assert standing.machine(WHOLE, unit=False).grade is Grade.OK
    found = standing.machine(Kernel(seccomp=True, machine="x86_64"), unit=False)
    assert found.grade is Grade.WARNING
    assert "SystemCallFilter=landlock_create_ruleset" in found.text
    assert "RestrictNamespaces=user" in found.text


def test_the_running_agents_word_about_confinement_counts() -> None:
    runs = msgspec.structs.replace(
        RUNS, servers=[ServerStatus("files", isolation="process", network="none (seccomp)")]
    )
    here = standing.confined("files", FILES, WHOLE, None)
    there = standing.confined("files", FILES, WHOLE, runs)
    assert there is not None
    assert there.grade is Grade.WARNING
    assert "Landlock" in there.text
    assert here is None or here.server == "files"


def test_a_server_of_the_network_is_not_confined() -> None:
    assert standing.confined("crm", ServerSettings(url="http://crm.internal/mcp"), WHOLE, None) is None


def test_podman_is_well_where_it_is_rootless_and_may_set_limits() -> None:
    best = Podman("/usr/bin/podman", "4.3.1", True, frozenset({"memory", "pids"}))
    assert standing.podman(best, unit=False).grade is Grade.OK
    by_root = standing.podman(replace(best, rootless=False), unit=False)
    assert "run by root" in by_root.text
    unbounded = standing.podman(Podman("/usr/bin/podman", "4.3.1", True, frozenset()), unit=True)
    assert (unbounded.grade, "may use no cgroups" in unbounded.text) == (Grade.WARNING, True)
    assert "servers prepare box" in standing.image("box", "localhost/x", False).text
