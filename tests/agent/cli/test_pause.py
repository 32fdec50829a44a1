"""`pause` and `resume`: through the running agent, or for the next one."""

from __future__ import annotations

import msgspec
import pytest

from penstock_agent import pausing
from penstock_agent.control import Args, Pause, Peer, ServerStatus
from penstock_agent.gate.pause import Entry, Kind
from penstock_agent.problem import Exit
from tests.harness.agent_site import Site

SERVERS = '[servers.files]\ncommand = ["server"]\n'


def test_a_running_agent_is_told_what_to_stop_and_says_what_ended(site: Site) -> None:
    site.join()
    site.config.write_text(SERVERS)
    given: list[Args] = []

    async def answer(_peer: Peer, args: Args) -> Args:
        given.append(args)
        return msgspec.to_builtins(Pause(True, 3, [Entry(Kind.SERVER, "files", 5.0, 0)]))  # type: ignore[no-any-return]

    with site.running(site.status(), pause=answer, resume=answer):
        everything = site.run("pause")
        server = site.run("pause", "files")
        caller = site.run("pause", "alice@example.com")
        called_so = site.run("pause", "files", "--caller")
        resumed = site.run("resume", "alice@example.com")
        as_json = site.run("pause", "--json").json
    assert given[:5] == [
        {"kind": "everything", "name": ""},
        {"kind": "server", "name": "files"},
        {"kind": "caller", "name": "alice@example.com"},
        {"kind": "caller", "name": "files"},
        {"kind": "caller", "name": "alice@example.com"},
    ]
    assert "Everything is paused. 3 sessions and requests were ended." in everything.stdout
    assert everything.stdout.endswith("To let it go on: penstock-agent resume\n")
    assert server.stdout.endswith("To let it go on: penstock-agent resume files\n")
    assert called_so.stdout.endswith("To let it go on: penstock-agent resume --caller files\n")
    assert "The server files is paused." in server.stdout
    assert "The caller alice@example.com is paused." in caller.stdout
    assert "The caller files is paused." in called_so.stdout
    assert "The caller alice@example.com goes on.\nStill paused: the server files." in resumed.stdout
    assert as_json["running"] is True
    assert as_json["ended"] == 3


def test_without_an_agent_it_is_for_the_next_one(site: Site) -> None:
    site.join()
    done = site.run("pause")
    assert (done.status, "No agent runs here; it will be so when it starts." in done.stdout) == (0, True)
    (entry,) = pausing.load(site.state).entries
    assert entry.kind is Kind.EVERYTHING
    assert "already" in site.run("pause").stdout
    assert "goes on" in site.run("resume").stdout
    assert pausing.load(site.state).entries == ()
    assert "was not paused" in site.run("resume").stdout


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_caller_needs_a_name(site: Site, verb: str) -> None:
    done = site.run(verb, "--caller")
    assert done.status == Exit.USAGE
    assert "needs the caller's name" in done.stderr


def test_status_shows_what_is_paused(site: Site) -> None:
    site.join()
    with site.running(site.status(paused=[Entry(Kind.CALLER, "alice", 0.0, 0)])):
        done = site.run("status")
    assert "PAUSED       the caller alice, for " in done.stdout
    assert "by uid 0" in done.stdout


def test_a_mistake_in_the_file_does_not_keep_anybody_from_stopping_the_agent(site: Site) -> None:
    site.join()
    site.config.write_text(SERVERS + "expsoe = []\n")
    given: list[Args] = []

    async def answer(_peer: Peer, args: Args) -> Args:
        given.append(args)
        return msgspec.to_builtins(Pause(True, 0, []))  # type: ignore[no-any-return]

    with site.running(site.status(servers=[ServerStatus("files")]), pause=answer):
        assert site.run("pause").status == Exit.DONE
        assert site.run("pause", "files").status == Exit.DONE
        site.config.write_text("not TOML")
        assert site.run("pause", "alice@example.com").status == Exit.DONE
    assert [(each["kind"], each["name"]) for each in given] == [
        ("everything", ""),
        ("server", "files"),
        ("caller", "alice@example.com"),
    ]


def test_without_a_running_agent_the_mistake_is_told(site: Site) -> None:
    site.join()
    site.config.write_text("expsoe = []\n")
    done = site.run("pause", "files")
    assert done.status == Exit.USAGE
    assert "expsoe: unknown key" in done.stderr
    assert pausing.load(site.state).entries == ()
