from __future__ import annotations

import json

import pytest

from penstock import __version__
from penstock_agent import pausing
from penstock_agent.control import Approval, Approvals, Args, Peer, ServerStatus
from penstock_agent.gate.pause import Entry, Kind, Paused
from tests.harness.agent_site import Result, Site


def checks(done: Result) -> dict[tuple[str, str], str]:
    found = json.loads(done.stdout)["checks"]
    return {(each.get("server", ""), each["check"]): each["grade"] for each in found}


def test_what_never_joined_and_does_not_run_fails_in_words(site: Site) -> None:
    done = site.run("doctor")
    assert done.status == 1
    assert "FAILED   state" in done.stdout
    assert "penstock-agent join JOIN_STRING" in done.stdout
    assert "FAILED   agent" in done.stdout
    assert "systemctl start" in done.stdout
    assert "failed." in done.stdout.splitlines()[-1]


def test_a_mistake_in_the_file_is_named_line_by_line_and_nothing_else(site: Site) -> None:
    site.configure("call_timeout = 0\nno_such = 1\n")
    done = site.run("doctor", "--json")
    assert done.status == 1
    texts = [each["text"] for each in json.loads(done.stdout)["checks"]]
    assert len(texts) == 2
    assert "call_timeout" in "".join(texts)


def test_a_server_that_there_is_not_is_usage(site: Site) -> None:
    done = site.run("doctor", "crm")
    assert done.status == 2
    assert "no server named 'crm'" in done.stderr


async def _none(_peer: Peer, _args: Args) -> Args:
    return {"requests": []}


def test_servers_are_started_once_beside_a_running_agent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.join()
    site.add_server(["read_*"])
    servers = [
        ServerStatus("files", expose=["read_*"], isolation="landlock (ABI 7)", network="none (seccomp)")
    ]
    status = site.status(version=__version__, servers=servers)
    with site.running(status, approvals=_none) as asked:
        done = site.run("doctor", "--json")
    assert set(asked) == {"status", "approvals"}  # nothing that changes it
    found = checks(done)
    assert found["", "agent"] == found["", "link"] == found["", "state"] == "ok"
    assert found["files", "start"] == found["files", "confinement"] == "ok"
    # relay.example is not to be reached from here.
    assert found["", "dns"] == "failed"


def test_servers_are_left_alone_where_that_is_asked_or_they_are_paused(site: Site) -> None:
    site.join()
    site.add_server(["*"])
    assert ("files", "start") not in checks(site.run("doctor", "--json", "--no-servers"))
    pausing.save(site.state, Paused((Entry(Kind.SERVER, "files"),)))
    found = checks(site.run("doctor", "--json"))
    assert ("files", "start") not in found
    assert found["", "paused"] == "warning"


def test_a_server_that_does_not_start_says_why(site: Site) -> None:
    site.join()
    site.configure('[servers.files]\ncommand = ["/no/such/program"]\n')
    done = site.run("doctor")
    assert done.status == 1
    line = next(each for each in done.stdout.splitlines() if each.startswith("FAILED   start"))
    assert "files: " in line
    assert "/no/such/program" in line


def test_calls_that_wait_are_counted(site: Site) -> None:
    site.join()

    async def one(_peer: Peer, _args: Args) -> Args:
        import msgspec

        waits = Approval("r1", "waiting", "", "", "s", "", "files", "wipe", "{}", "", "", 0.0, 1.0)
        built: Args = msgspec.to_builtins(Approvals([waits]))
        return built

    with site.running(site.status(version=__version__), approvals=one):
        done = site.run("doctor")
    assert "1 call waits for approval. See: penstock-agent approvals list" in done.stdout
