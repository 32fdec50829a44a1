"""Records as lines, and which are asked for."""

from __future__ import annotations

import pytest

from penstock_agent.ledger.reading import NOBODY, Record, Who
from penstock_agent.ledger.showing import Filter, line

ALICE = Who("i", "alice", "Alice", "a@x", "claude")
AT = "2026-11-28T00:00:00Z"


def made(kind: str, who: Who = ALICE, **said: object) -> Record:
    return Record(7, AT, kind, said, who)


CALL = made(
    "decision",
    exchange="k",
    server="files",
    method="tools/call",
    item="tool:read",
    verdict="denied",
    rule="expose",
)
SENT = made("sent", exchange="k", server="files", offset=10, bytes=5)
LATER = made("sent", exchange="k2", answers="k", server="files", offset=0, bytes=5)
UNSENT = made("unsent", exchange="k", server="files", offset=3)
OPENED = made("opened", exchange="k", server="files", status=200, headers=["mcp-session-id"])
MASKED = made("masked", server="files", item="tool:read", action="mask", found={"card": 2})
PAUSED = made("event", NOBODY, what="is_paused", by_uid=0, about={"name": "files", "x": ""})
LIST = made("decision", server="", method="tools/list", verdict="allowed", rule="all")


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (CALL, "files tool:read: denied (expose)  [Alice <a@x>, claude]"),
        (SENT, "files: 5 bytes from 10 of k  [Alice"),
        (LATER, "files: 5 bytes from 0 of k2, answers k"),
        (UNSENT, "what begins at 3 of k did not leave"),
        (OPENED, "answer 200 with mcp-session-id"),
        (MASKED, "files tool:read: mask 2 card"),
        (PAUSED, "is paused by uid 0: name files"),
        (made("event", NOBODY, what="stopped"), "event     stopped"),
        (made("retired", NOBODY, segments=[1, 2], of=9), "segments [1, 2], of 9"),
        (LIST, "all together tools/list: allowed"),
    ],
)
def test_each_kind_is_a_line(record: Record, text: str) -> None:
    assert text in line(record)


def test_nothing_in_a_line_is_obeyed_by_a_terminal() -> None:
    evil = "\x1b]0;x\x07\r\n\u202e"
    shown = line(made("decision", Who("i", evil, evil), item=evil, server=evil, verdict=evil, rule=evil))
    assert shown.isprintable()


def chosen(filter: Filter) -> list[Record]:
    return [each for each in (CALL, SENT, LATER) if filter.takes(each)]


def test_without_a_wish_all_is_shown_but_what_the_ledger_needs_for_itself() -> None:
    assert chosen(Filter()) == [CALL, SENT, LATER]
    assert not any(Filter().takes(made(kind)) for kind in ("who", "segment", "head"))
    assert Filter().takes(made("retired"))


@pytest.mark.parametrize("pattern", ["read", "tool:read", "re*", "tool:*"])
def test_what_left_is_shown_with_the_tool_that_it_answers(pattern: str) -> None:
    assert chosen(Filter(tool=pattern)) == [CALL, SENT, LATER]


def test_each_wish_narrows() -> None:
    assert chosen(Filter(tool="write")) == []
    assert chosen(Filter(person="alice")) == [CALL, SENT, LATER]
    assert chosen(Filter(person="bob")) == []
    assert chosen(Filter(server="files")) == [CALL, SENT, LATER]
    assert chosen(Filter(server="crm")) == []
    assert chosen(Filter(exchange="k")) == [CALL, SENT, LATER]
    assert chosen(Filter(exchange="k2")) == [LATER]
    assert chosen(Filter(denied=True)) == [CALL]
    assert Filter(denied=True).takes(made("masked"))
    assert Filter(server="crm").takes(made("decision", server="", of="crm"))
