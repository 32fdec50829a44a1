from __future__ import annotations

import pytest

from penstock.envelope import Kind, Message, request
from penstock_agent.children.child import ChildSpec
from penstock_agent.endpoint import memory
from penstock_agent.endpoint.memory import AGE_S, ANSWER_COST, ANSWER_MAX, Identity, Memory, Witness
from penstock_agent.remote.spec import RemoteSpec
from tests.agent.endpoint.talk import spec

ALICE: Identity = ("https://idp.example", "alice", "assistant")
BOB: Identity = ("https://idp.example", "bob", "assistant")
TOOLS = b'{"tools":[{"name":"a"}]}'
HELLO = b'{"protocolVersion":"2025-11-25","capabilities":{}}'


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Site:
    """One server whose processes are watched."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.memory = Memory(self.clock)
        self.witness = Witness(self.memory, "files")

    def hear(
        self,
        result: bytes = TOOLS,
        method: str = "tools/list",
        params: bytes | None = b"{}",
        *,
        hello: bytes | None = HELLO,
        by: ChildSpec | None = None,
    ) -> None:
        asked = request(b"1", method, params)
        self.witness.given(asked)
        answer = Message(Kind.RESPONSE, b"1", None, None, result, None)
        self.witness.heard(by or spec(), ALICE, asked, answer, hello)

    def known(
        self,
        method: str = "tools/list",
        params: bytes | None = b"{}",
        *,
        who: Identity = ALICE,
        hello: bytes | None = HELLO,
        by: ChildSpec | None = None,
    ) -> bytes | None:
        return self.witness.known(by or spec(), who, request(b"2", method, params), hello)


@pytest.mark.parametrize(
    "method", ["initialize", "server/discover", "tools/list", "resources/templates/list"]
)
def test_a_question_is_answered_again_byte_for_byte(method: str) -> None:
    site = Site()
    assert site.known(method) is None
    site.hear(b'{"a" : 1.0}', method)
    assert site.known(method) == b'{"a" : 1.0}'


@pytest.mark.parametrize("method", ["tools/call", "resources/read", "prompts/get", "ping", "x/list"])
def test_nothing_else_is(method: str) -> None:
    site = Site()
    site.hear(b"{}", method)
    assert site.known(method) is None
    assert site.memory.bytes == 0


def test_only_for_whom_it_was_meant_and_what_was_asked() -> None:
    site = Site()
    site.hear()
    assert site.known() == TOOLS
    assert site.known(who=BOB) is None
    assert site.known(params=None) is None
    assert site.known(params=b'{"_meta":{}}') is None
    assert site.known(hello=HELLO.replace(b"2025", b"2024")) is None
    assert site.known(hello=None) is None
    assert site.known("prompts/list") is None
    assert site.known(by=spec("files", "--new")) is None
    assert site.known() is None, "another command was asked for, and the old one is gone"


def test_where_one_part_ends_and_the_next_begins_matters() -> None:
    site = Site()
    site.hear(params=b"23", hello=b"1")
    assert site.known(params=b"3", hello=b"12") is None


def test_what_the_client_said_in_initialize_is_all_that_counts_there() -> None:
    site = Site()
    site.hear(b"{}", "initialize", HELLO, hello=None)
    assert site.known("initialize", HELLO, hello=b"another") == b"{}"


def test_a_list_in_pieces_is_not_kept() -> None:
    site = Site()
    site.hear(b'{"tools":[],"nextCursor":"x"}')
    site.hear(params=b'{"cursor":"x"}')
    assert site.memory.bytes == 0
    site.hear(b'{"tools":[],"nextCursor":null}')
    assert site.known() is not None


def test_a_process_that_was_used_may_have_changed_what_it_shows() -> None:
    site = Site()
    site.hear(b"{}", "tools/call")
    site.hear()
    assert site.known() is None
    site.witness.lost()
    site.hear()
    assert site.known() == TOOLS


@pytest.mark.parametrize("result", [b"5", b"[]", b'"x"', b"null"])
def test_what_is_no_result_of_mcp_is_not_kept(result: bytes) -> None:
    site = Site()
    site.hear(result)
    assert site.memory.bytes == 0


def test_an_error_and_a_server_of_the_network_are_not_kept() -> None:
    site = Site()
    asked = request(b"1", "tools/list", b"{}")
    site.witness.heard(spec(), ALICE, asked, Message(Kind.ERROR, b"1", None, None, None, b"{}"), HELLO)
    site.hear(by=RemoteSpec("files", "http://crm/mcp", "http"))
    assert site.memory.bytes == 0


@pytest.mark.parametrize(
    ("notification", "gone"),
    [
        ("notifications/tools/list_changed", {"tools/list"}),
        ("notifications/prompts/list_changed", {"prompts/list"}),
        ("notifications/resources/list_changed", {"resources/list", "resources/templates/list"}),
        ("notifications/message", set()),
        (None, set()),
    ],
)
def test_a_list_that_has_changed_is_forgotten(notification: str | None, gone: set[str]) -> None:
    site = Site()
    for method in memory.QUESTIONS:
        site.hear(b"{}", method)
    Witness(site.memory, "other").noted(notification)
    assert all(site.known(method) for method in memory.QUESTIONS)
    site.witness.noted(notification)
    assert {method for method in memory.QUESTIONS if site.known(method) is None} == gone


def test_a_day_later_it_is_not_told_any_more() -> None:
    site = Site()
    site.hear()
    site.clock.now = AGE_S - 1
    assert site.known() == TOOLS
    site.clock.now = AGE_S
    assert site.known() is None
    assert site.memory.bytes == 0


def test_the_newest_answer_counts() -> None:
    site = Site()
    site.hear()
    site.hear(b"{}")
    assert site.known() == b"{}"
    assert site.memory.bytes == 2 + ANSWER_COST


def test_what_is_kept_is_bounded_and_the_longest_unused_makes_room() -> None:
    site = Site()
    site.hear(b"{" + b" " * (ANSWER_MAX - 1) + b"}")
    assert site.memory.bytes == 0
    largest = b"{" + b" " * (ANSWER_MAX - ANSWER_COST - 2) + b"}"
    for number in range(16):
        site.hear(largest, params=b"%d" % number)
    assert site.memory.bytes == memory.KEPT_MAX
    assert site.known(params=b"0") is not None
    site.hear(b"{}", params=b"16")
    assert site.known(params=b"0") is not None
    assert site.known(params=b"1") is None
    site.memory.clear()
    assert site.known(params=b"0") is None
    assert site.memory.bytes == 0
