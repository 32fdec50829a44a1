"""``tools review`` and ``tools approve``: through the running agent, or on the state folder without one."""

from __future__ import annotations

import json

import msgspec
import pytest

from penstock_agent import pinning
from penstock_agent.control import Args, Peer
from penstock_agent.exposing.reviewing import Change, Review
from penstock_agent.gate.pins import Pinned
from penstock_agent.problem import Exit
from tests.harness.agent_site import Site

CHANGE = Change(
    "tool:read_file", "changed", True, "abc", 5.0, '{"name":"read_file","description":"Pays."}',
    '{"name":"read_file","description":"Reads."}', ["It looks like a trick."],
)  # fmt: skip


def change(site: Site, old: str, new: str) -> None:
    program = site.folder / "server.py"
    assert old in program.read_text()
    program.write_text(program.read_text().replace(old, new))


def kept(site: Site) -> Pinned:
    found = pinning.load(site.state, "files")
    assert isinstance(found, Pinned)
    return found


def test_without_an_agent_the_server_is_asked_and_its_change_is_shown_and_approved(site: Site) -> None:
    site.add_server(["read_file", "wipe"])
    first = site.run("tools", "review")
    assert (first.status, "nothing waits" in first.stdout) == (0, True)
    assert len(kept(site).approved.items) == 6

    change(site, "Reads.", "Reads and \\u202epays.")
    change(site, '"wipe", "annotations"', '"wipe", "description": "x", "annotations"')
    change(site, '"misc"', '"other"')
    done = site.run("tools", "review", "files")
    assert done.status == Exit.FAILED
    assert "tool:read_file: changed, withheld, seen since" in done.stdout
    assert "-> Reads and <U+202E>pays." in done.stdout.replace('"', "")
    assert "! Its description holds characters that do not show: U+202E." in done.stdout
    assert "tool:other: new, not exposed" in done.stdout
    assert "penstock-agent tools approve files ITEM ...   or --all, or ITEM --digest DIGEST" in done.stdout
    listed = site.run("tools", "list").stdout
    assert "    ! read_file (changed)" in listed
    assert "of these withheld (!): 2" in listed
    as_json = site.run("tools", "list", "--json").json["files"]
    assert isinstance(as_json, list)
    assert [one["withheld"] for one in as_json if one["name"] in ("read_file", "read_all")] == [
        "changed",
        None,
    ]

    shown = done.stdout.split("tool:wipe:")[1].split("digest: ")[1].split()[0]
    stale = site.run("tools", "approve", "files", "wipe", "--digest", "0" * 12)
    assert (stale.status, "is not what has this digest; nothing was approved" in stale.stderr) == (1, True)
    assert "tool:wipe" in kept(site).waiting
    approved = site.run("tools", "approve", "files", "wipe", "--digest", shown)
    assert approved.stdout.startswith("Approved of files: tool:wipe.\nStill waiting: ")
    assert sorted(kept(site).waiting) == ["tool:other", "tool:read_file"]
    everything = site.run("tools", "approve", "files", "--all", "--json").json
    assert everything["waiting"] == []
    assert kept(site).waiting == {}
    assert site.run("tools", "review").status == 0


def test_what_does_not_wait_cannot_be_approved_and_a_form_is_needed(site: Site) -> None:
    site.add_server(["*"])
    nothing = site.run("tools", "approve", "files", "read_file")
    assert (nothing.status, "does not wait for approval" in nothing.stderr) == (Exit.USAGE, True)
    assert "Nothing of files waits" in site.run("tools", "approve", "files", "--all").stdout
    for wrong in (
        (),
        ("read_file", "--all"),
        ("--all", "--digest", "0" * 12),
        ("read_file", "wipe", "--digest", "0" * 12),
        ("read_file", "--digest", "0" * 11),
    ):
        assert site.run("tools", "approve", "files", *wrong).status == Exit.USAGE


def test_a_broken_file_is_said_and_replaced_only_on_purpose(site: Site) -> None:
    site.add_server(["*"])
    site.run("tools", "review")
    pinning.path(site.state, "files").write_text("{")
    done = site.run("tools", "review")
    assert (done.status, "is not what this agent writes" in done.stdout) == (Exit.FAILED, True)
    assert site.run("tools", "approve", "files", "read_file").status == Exit.FAILED
    assert pinning.path(site.state, "files").read_text() == "{"
    assert "Approved of files: everything." in site.run("tools", "approve", "files", "--all").stdout
    assert len(kept(site).approved.items) == 6


def test_expose_approves_what_it_shows_but_not_what_has_changed(site: Site) -> None:
    site.add_server()
    site.run("expose", "files", "read_file")
    assert len(kept(site).approved.items) == 6
    change(site, "Reads.", "Pays.")
    change(site, '"misc"', '"other"')
    done = site.run("expose", "files", "other")
    assert "    ! read_file (changed)" in done.stdout
    assert "    + other" in done.stdout
    assert sorted(kept(site).waiting) == ["tool:read_file"]


def test_the_sites_words_are_shown_as_its_own(site: Site) -> None:
    site.add_server(["*"])
    site.configure(site.config.read_text() + '[servers.files.tools.misc]\ndescription = "Ours."\n')
    assert "    + misc (in the site's words)   Ours." in site.run("tools", "list").stdout
    assert "misc: It has no description" not in site.run("tools", "lint").stdout


def test_a_running_agent_is_asked_and_is_told_by_digest(site: Site) -> None:
    site.join()
    site.configure('[servers.files]\ncommand = ["server"]\n')
    given: list[Args] = []

    async def review(_peer: Peer, args: Args) -> Args:
        assert args == {"server": "files"}
        built: Args = msgspec.to_builtins(Review("files", "v1", 5.0, -1, changes=[CHANGE]))
        return built

    async def approve(_peer: Peer, args: Args) -> Args:
        given.append(args)
        built: Args = msgspec.to_builtins(Review("files", "v2", 6.0, 0))
        return built

    with site.running(site.status(), review=review, pin=approve):
        shown = site.run("tools", "review")
        done = site.run("tools", "approve", "files", "read_file")
        found = site.run("tools", "review", "--json").json["servers"]
    assert "(taken as first found), version v1; 1 definitions wait" in shown.stdout
    assert 'description: "Reads." -> "Pays."' in shown.stdout
    assert "! It looks like a trick." in shown.stdout
    assert done.stdout == "Approved of files: tool:read_file.\n"
    assert given == [{"server": "files", "items": {"tool:read_file": "abc"}, "afresh": False}]
    assert isinstance(found, dict)
    assert found["files"]["changes"][0]["differences"] == [
        {"path": "description", "text": '"Reads." -> "Pays."'}
    ]


def test_on_a_terminal_each_change_is_asked_about(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.add_server(["*"])
    site.run("tools", "review")
    change(site, "Reads.", "Pays.")
    change(site, '"greet"', '"hello"')
    change(site, '"misc"', '"other"')
    monkeypatch.setattr("penstock_agent.cli.review._on_terminal", lambda: True)
    left = site.run("tools", "review", input="x\na\nl\ns\n")
    assert left.status == Exit.FAILED
    assert "approved: tool:read_file" in left.stdout
    assert sorted(kept(site).waiting) == ["prompt:hello", "tool:other"]
    stopped = site.run("tools", "review", input="s\n")
    assert stopped.stdout.count("[a]pprove") == 1
    assert site.run("tools", "review", input="a\na\n").status == 0
    assert kept(site).waiting == {}


def test_what_is_long_is_printed_to_its_end_and_what_is_too_long_is_not_asked_about(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.join()
    site.configure('[servers.files]\ncommand = ["server"]\n')
    monkeypatch.setattr("penstock_agent.cli.review._on_terminal", lambda: True)
    size = 0

    async def review(_peer: Peer, _args: Args) -> Args:
        text = f"Reads. {'x' * size}{' ' * 3000} And sends."
        one = msgspec.structs.replace(CHANGE, after=json.dumps({"name": "read_file", "description": text}))
        built: Args = msgspec.to_builtins(Review("files", "v1", 5.0, -1, changes=[one]))
        return built

    with site.running(site.status(), review=review):
        size = 60_000
        shown = site.run("tools", "review", input="l\n")
        size = 70_000
        cut = site.run("tools", "review", input="a\n")
        as_json = site.run("tools", "review", "--json").json["servers"]
    assert "<3001 blanks>And sends." in shown.stdout
    assert "description (60," in shown.stdout
    assert "[a]pprove" in shown.stdout
    assert "And sends." not in cut.stdout
    assert "[a]pprove" not in cut.stdout
    assert "To see the definition: penstock-agent tools review files --json" in cut.stdout
    assert cut.status == Exit.FAILED
    assert isinstance(as_json, dict)
    (change,) = as_json["files"]["changes"]
    assert "And sends." in change["after"]
    assert [one["whole"] for one in change["differences"]] == [False]


def test_status_counts_and_names_what_is_withheld(site: Site) -> None:
    site.join()
    running = site.status(withheld={"files": ["tool:read_file"]}, not_read={"crm": "It is broken."})
    with site.running(running):
        done = site.run("status")
        as_json = site.run("status", "--json").json["daemon"]
    assert done.status == 0
    assert "WITHHELD     1 of files: tool:read_file: penstock-agent tools review files" in done.stdout
    assert "WITHHELD     all of crm: It is broken." in done.stdout
    assert json.dumps(as_json).count("read_file") == 1
