"""What counts as reading something sensitive, what follows, and for how long."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from penstock.envelope import Message, notification, request
from penstock_agent.gate.expose import Expose
from penstock_agent.gate.methods import used
from penstock_agent.gate.policy import taint
from penstock_agent.gate.policy.taint import Mark, Marks, Owners, Taint, escapes

NOON = 1_795_867_200.0
ALICE, BOB = ("https://idp.example", "alice"), ("https://idp.example", "bob")
TAINT = Taint({"mail": Expose.parse(["read_*", "prompt:sum", "resource:mail://**", "method:x/read"])})


class Known:
    def contained(self, server: str, /) -> Collection[str]:
        return {"mail": ("find",), "files": ("list",)}.get(server, ())


def asked(method: str, params: bytes = b"{}") -> Message:
    return request(b"1", method, params)


def call(name: str) -> Message:
    return asked("tools/call", b'{"name":"%b","arguments":{}}' % name.encode())


def owners(message: Message, server: str) -> Owners:
    use = used(message)
    return ((server, None if use is None else use.name),)


@pytest.mark.parametrize(
    ("message", "counts"),
    [
        (call("read_mail"), True),
        (call("find"), False),
        (asked("prompts/get", b'{"name":"sum"}'), True),
        (asked("prompts/get", b'{"name":"read_mail"}'), False),
        (asked("resources/read", b'{"uri":"mail://inbox/1"}'), True),
        (asked("resources/read", b'{"uri":"MAIL://inbox//1#x"}'), True),
        (asked("resources/read", b'{"uri":"file:///a"}'), False),
        (asked("completion/complete", b'{"ref":{"type":"ref/prompt","name":"sum"}}'), True),
        (asked("x/read"), True),
        (asked("x/other"), False),
        (asked("tools/list"), False),
        (asked("tasks/result", b'{"taskId":"1"}'), True),
        (asked("tasks/cancel", b'{"taskId":"1"}'), False),
    ],
)
def test_what_counts_as_reading_something_sensitive(message: Message, counts: bool) -> None:
    for server, here in (("mail", counts), ("files", False)):
        assert TAINT.reads(owners(message, server), message, used(message)) == (server if here else None)


def test_a_task_of_a_server_without_sensitive_tools_is_none_and_an_unknown_name_may_be_any() -> None:
    task = asked("tasks/get", b'{"taskId":"1"}')
    assert Taint({"mail": Expose.parse(["prompt:*"])}).reads([("mail", None)], task, None) is None
    message = call("a_name_that_was_shortened")
    assert TAINT.reads([("files", None), ("mail", None)], message, used(message)) == "mail"


@pytest.mark.parametrize(
    ("message", "does"),
    [
        (call("find"), False),
        (call("send"), True),
        (call("list"), True),
        (asked("tools/call", b"{}"), True),
        (asked("resources/read", b'{"uri":"mail://inbox/1"}'), False),
        (asked("prompts/get", b'{"name":"sum"}'), False),
        (asked("tools/list"), False),
        (asked("tasks/get", b'{"taskId":"1"}'), False),
        (asked("tasks/update", b'{"taskId":"1"}'), True),
        (asked("x/any"), True),
        (notification("notifications/cancelled", b"{}"), False),
        (notification("x/any", b"{}"), True),
    ],
)
def test_what_may_write_or_reach_out(message: Message, does: bool) -> None:
    assert escapes(owners(message, "mail"), message, used(message), Known()) is does


def test_of_a_tool_that_several_may_have_or_whose_name_is_not_known_the_worst_is_taken() -> None:
    message = call("x")
    use = used(message)
    assert not escapes([("mail", "find"), ("files", "list")], message, use, Known())
    assert escapes([("mail", "find"), ("files", "find")], message, use, Known())
    assert escapes([("mail", None)], message, use, Known())
    assert not escapes([], message, use, Known()), "a tool of the agent's own"


def test_a_mark_is_of_a_person_lasts_its_time_and_is_never_shortened() -> None:
    marks = Marks()
    assert marks.of(ALICE, NOON) is None
    assert marks.set(Mark(ALICE, NOON + 100, "claude", "mail"), NOON)
    assert marks.set(Mark(ALICE, NOON + 50, "chatgpt", "files"), NOON)
    assert marks.of(ALICE, NOON + 99) == Mark(ALICE, NOON + 100, "chatgpt", "files")
    assert (marks.of(ALICE, NOON + 100), marks.of(BOB, NOON)) == (None, None)


def test_only_the_application_that_read_is_told_where() -> None:
    mark = Mark(ALICE, NOON + 100.5, "claude", "mail")
    assert "read from mail for you, so until 2026-11-28T12:01:41Z you may use no tool" in mark.words("claude")
    assert "mail" not in mark.words("chatgpt")
    assert "through another application" in mark.words("chatgpt")


def test_without_room_nothing_is_forgotten_but_what_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(taint, "PEOPLE_MAX", 1)
    marks = Marks()
    assert marks.set(Mark(ALICE, NOON + 100, "", "mail"), NOON)
    assert not marks.set(Mark(BOB, NOON + 200, "", "mail"), NOON)
    assert marks.set(Mark(ALICE, NOON + 110, "", "mail"), NOON), "who is known needs no room"
    assert marks.of(BOB, NOON) is None
    assert marks.set(Mark(BOB, NOON + 200, "", "mail"), NOON + 110)
    assert len(marks) == 1


def test_what_is_kept_is_read_again_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    marks = Marks()
    marks.set(Mark(ALICE, NOON + 100, "c", "mail"), NOON)
    marks.set(Mark(BOB, NOON + 10, "c", "mail"), NOON)
    assert marks.changed
    data = marks.dump(NOON + 10)
    assert not marks.changed
    again = Marks()
    again.load(data)
    assert again.of(ALICE, NOON + 99) == Mark(ALICE, NOON + 100, "c", "mail")
    assert len(again) == 1
    monkeypatch.setattr(taint, "PEOPLE_MAX", 0)
    for wrong in (data, b"", b"{}", b"\xff", b'[[["a"],1,"",""]]'):
        with pytest.raises(ValueError, match="not what this agent writes"):
            Marks().load(wrong)
