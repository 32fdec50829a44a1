"""`approvals`: what waits, and the answers."""

from __future__ import annotations

import time

import msgspec

from penstock_agent.control import Approval, Approvals, Args, Peer
from tests.harness.agent_site import Site

NOW = time.time()
WAITS = Approval(
    "1f2e3d4c", "waiting", "Alice A.", "alice@example.com", "alice", "https://claude.ai/client", "files",
    "tool:write_file", '{"path":"/a\u202e"}', "ab" * 32, 'rule "writes"', NOW - 60, NOW + 540,
)  # fmt: skip


def _builtins(value: msgspec.Struct) -> Args:
    return msgspec.to_builtins(value)  # type: ignore[no-any-return]


def test_what_waits_is_listed_with_everything_an_approver_needs(site: Site) -> None:
    site.join()

    async def listed(_peer: Peer, args: Args) -> Args:
        return _builtins(Approvals([WAITS]))

    with site.running(site.status(), approvals=listed):
        shown = site.run("approvals", "list").stdout
        one = site.run("approvals", "show", "1f2e3d4c").stdout
        as_json = site.run("approvals", "list", "--json").json
    for text in (shown, one):
        assert "1f2e3d4c  tool:write_file of files: waits" in text
        assert "Alice A., alice@example.com (alice)" in text
        assert 'rule "writes"' in text
        assert '{"path":"/a<U+202E>"}' in text
    assert "approvals approve REQUEST" in shown
    (request,) = msgspec.convert(as_json["requests"], list[Approval])
    assert request.arguments == '{"path":"/a\u202e"}'


def test_a_name_that_was_made_for_the_terminal_is_shown_as_what_it_is(site: Site) -> None:
    site.join()
    odd = msgspec.structs.replace(WAITS, item="resource:a\x1b[2J\u202e")

    async def listed(_peer: Peer, args: Args) -> Args:
        return _builtins(Approvals([odd]))

    async def approve(_peer: Peer, args: Args) -> Args:
        return _builtins(odd)

    with site.running(site.status(), approvals=listed, approve=approve):
        for command in (("list",), ("approve", "1f2e3d4c")):
            assert "resource:a<U+001B>[2J<U+202E> of files" in site.run("approvals", *command).stdout


def test_blanks_lead_nowhere(site: Site) -> None:
    site.join()
    blanks = " " * 5000
    odd = msgspec.structs.replace(
        WAITS, arguments=f'{{"a":1,{blanks}"b":2}}', answer=f"one{blanks}two", answer_bytes=5006
    )

    async def listed(_peer: Peer, args: Args) -> Args:
        return _builtins(Approvals([odd]))

    with site.running(site.status(), approvals=listed):
        one = site.run("approvals", "show", "1f2e3d4c").stdout
    assert '{"a":1,<5000 blanks>"b":2}' in one
    assert "answer     one<5000 blanks>two" in one


def test_nothing_waits(site: Site) -> None:
    site.join()

    async def listed(_peer: Peer, args: Args) -> Args:
        return _builtins(Approvals([]))

    with site.running(site.status(), approvals=listed):
        assert site.run("approvals", "list").stdout == "No call waits for approval.\n"


def test_an_answer_is_given_and_said(site: Site) -> None:
    site.join()
    given: list[tuple[str, Args]] = []

    async def approve(_peer: Peer, args: Args) -> Args:
        given.append(("approve", args))
        return _builtins(msgspec.structs.replace(WAITS, state="approved", by_uid=0))

    async def deny(_peer: Peer, args: Args) -> Args:
        given.append(("deny", args))
        return _builtins(msgspec.structs.replace(WAITS, state="denied", by_uid=0))

    with site.running(site.status(), approve=approve, deny=deny):
        approved = site.run("approvals", "approve", "1f2e3d4c").stdout
        denied = site.run("approvals", "deny", "1f2e3d4c").stdout
    assert given == [("approve", {"id": "1f2e3d4c"}), ("deny", {"id": "1f2e3d4c"})]
    assert "Approved: Alice A., alice@example.com (alice) may use tool:write_file of files once" in approved
    assert "Denied: Alice A., alice@example.com (alice) is told so." in denied


def test_without_an_agent_there_is_nothing_to_answer(site: Site) -> None:
    site.join()
    done = site.run("approvals", "list")
    assert done.status == 1
    assert "does not run" in done.stderr
