"""Which entry of a server a path is, what of a request travels to the site, and HTTP+SSE at the edge."""

from __future__ import annotations

import json

import pytest

from penstock.http import EVENT_STREAM
from penstock.names import WHOLE_SITE
from penstock.tunnel.frames import DoneReason, Purpose
from penstock_relay.edge import entries
from penstock_relay.edge.deadlines import LISTENING
from penstock_relay.edge.limits import Limits
from penstock_relay.switchboard import Answer, Call, NotExecuted, Offline, OutcomeUnknown
from tests.harness.fake_switchboard import FakeAnswer, FakeSwitchboard
from tests.relay.edge.serving import CALL, serving

STREAM = "/oslo/files/sse"
MESSAGES = "/oslo/files/messages?sessionId=abcdefgh.word"

TRAVELLING = [("accept", "*/*"), ("mcp-session-id", "of.a-header"), ("mcp-protocol-version", "2025-11-25")]
REST = (("accept", "*/*"), ("mcp-protocol-version", "2025-11-25"))


@pytest.mark.parametrize(
    ("name", "slash", "purpose", "tail"),
    [
        ("mcp", "", Purpose.MCP, "/mcp"),
        ("mcp", "/", Purpose.MCP, "/mcp/"),
        ("sse", "", Purpose.SSE, "/sse"),
        ("sse", "/", Purpose.SSE, "/sse/"),
        ("messages", "", Purpose.MESSAGES, "/sse"),
        ("messages", "/", Purpose.MESSAGES, "/sse"),
    ],
)
def test_who_has_to_log_in_does_so_for_the_url_that_was_pasted(
    name: str, slash: str, purpose: Purpose, tail: str
) -> None:
    assert entries.of(name, slash) == (purpose, tail)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/oslo/files/mcp", ("oslo", "files", "mcp", "")),
        ("/oslo/files/messages/", ("oslo", "files", "messages", "/")),
        ("/oslo/mcp", ("oslo", WHOLE_SITE, "mcp", "")),
        ("/oslo/mcp/", ("oslo", WHOLE_SITE, "mcp", "/")),
        ("/oslo/mcp/mcp", ("oslo", "mcp", "mcp", "")),
        ("/oslo/mcp/sse", ("oslo", "mcp", "sse", "")),
        ("/mcp/mcp", ("mcp", WHOLE_SITE, "mcp", "")),
        ("/oslo/sse", None),
        ("/oslo/oauth/mcp", None),
        ("/console/mcp", None),
        ("/oslo//mcp", None),
    ],
)
def test_a_path_is_one_entry_or_none(path: str, found: tuple[str, str, str, str] | None) -> None:
    assert entries.at(path) == found


def test_where_there_is_no_entry_the_next_one_is_named() -> None:
    assert "/{site}/{server}/sse" in entries.nothing("/oslo/messages").text
    for path in ("/", "/oslo", "/console/sse", "/oslo/files/x"):
        assert "/{site}/{server}/mcp, or /{site}/mcp" in entries.nothing(path).text


@pytest.mark.parametrize(
    ("query", "sessions"),
    [
        ("sessionId=a.b", ("a.b",)),
        ("x=1&sessionId=a.b&y", ("a.b",)),
        ("sessionId=a.b&sessionId=c.d", ("a.b", "c.d")),
        ("sessionId=", ("",)),
        ("sessionId", ("",)),
        ("sessionid=a.b", ()),
        ("xsessionId=a.b", ()),
        ("session_id=a.b", ()),
        ("", ()),
    ],
)
def test_a_message_names_its_session_in_the_query_and_nowhere_else(
    query: str, sessions: tuple[str, ...]
) -> None:
    named = tuple(("mcp-session-id", session) for session in sessions)
    assert entries.headers(Purpose.MESSAGES, TRAVELLING, query) == REST + named


def test_a_stream_belongs_to_no_session_that_was_there_before() -> None:
    assert entries.headers(Purpose.SSE, TRAVELLING, "sessionId=a.b") == REST


def test_in_streamable_http_a_query_means_nothing() -> None:
    assert entries.headers(Purpose.MCP, TRAVELLING, "sessionId=a.b") == tuple(TRAVELLING)


@pytest.mark.parametrize(
    ("purpose", "allowed"),
    [
        (Purpose.MCP, {"GET", "POST", "DELETE"}),
        (Purpose.SSE, {"GET"}),
        (Purpose.MESSAGES, {"POST"}),
    ],
)
def test_each_entry_has_its_own_methods(purpose: Purpose, allowed: set[str]) -> None:
    for method in ("GET", "POST", "DELETE", "PUT", "HEAD", "OPTIONS"):
        refusal = entries.check(purpose, method, None, "application/json", "*/*", None)
        assert (refusal is None) == (method in allowed), method
        if refusal is not None:
            assert refusal.status == 405
            assert set(dict(refusal.headers)["allow"].split(", ")) == allowed


def test_only_a_message_of_http_sse_may_be_sent_whatever_its_sender_accepts() -> None:
    statuses = []
    for purpose, method in ((Purpose.MCP, "POST"), (Purpose.SSE, "GET"), (Purpose.MESSAGES, "POST")):
        refusal = entries.check(purpose, method, None, "application/json", "text/html", None)
        statuses.append(None if refusal is None else refusal.status)
    assert statuses == [406, 406, None]


# -- at the edge ---------------------------------------------------------------------------------------


async def test_a_stream_is_carried_as_one_and_has_no_deadline_of_a_call() -> None:
    answer = FakeAnswer(content_type=EVENT_STREAM, complete=False)

    async def script(call: Call) -> Answer:
        return answer

    switchboard = FakeSwitchboard(script)
    limits = Limits(keep_alive_s=0.05)
    async with serving(switchboard, limits=limits) as edge, edge.caller() as caller:
        caller.send(b"", "GET", path=STREAM)
        head = await caller.begin()
        assert (head.status, head.headers["content-type"]) == (200, EVENT_STREAM)
        assert head.headers["cache-control"] == "no-cache, no-transform"
        answer.feed(b"event: endpoint\ndata: /x\n\n")
        assert await caller.chunk() == b"event: endpoint\ndata: /x\n\n"
        assert await caller.chunk() == b": keep-alive\n\n"
        (call,) = switchboard.calls
        assert (call.purpose, call.method, call.deadline_s) == (Purpose.SSE, "GET", LISTENING.deadline_s)
    await answer.closed.wait()
    assert answer.reasons == [DoneReason.CLIENT_GONE]


async def test_a_stream_whose_token_is_revoked_ends_as_that() -> None:
    answer = FakeAnswer([b"event: endpoint\ndata: /x\n\n"], content_type=EVENT_STREAM, complete=False)

    async def script(call: Call) -> Answer:
        return answer

    async with serving(FakeSwitchboard(script)) as edge, edge.caller() as caller:
        caller.send(b"", "GET", path=STREAM)
        await caller.begin()
        assert await caller.chunk()
        del edge.access.grants["good"]
        edge.access.change.set()
        assert await caller.chunk() == b""
        assert answer.reasons == [DoneReason.REVOKED]


async def test_a_message_names_its_session_to_the_site_and_is_accepted() -> None:
    async def script(call: Call) -> Answer:
        return FakeAnswer([b"Accepted"], status=202, content_type="text/plain; charset=utf-8")

    switchboard = FakeSwitchboard(script)
    async with serving(switchboard) as edge:
        answer = await edge.ask(CALL, path=MESSAGES, accept="*/*", mcp_session_id="another")
        assert (answer.status, answer.body) == (202, b"Accepted")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    (call,) = switchboard.calls
    assert (call.purpose, call.method, call.body) == (Purpose.MESSAGES, "POST", CALL)
    assert ("mcp-session-id", "abcdefgh.word") in call.headers
    assert call.deadline_s == 120.0


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Offline(1_000_000.0), 503, -32010),
        (NotExecuted("The agent is full.", 3), 503, -32010),
        (OutcomeUnknown("The link was lost."), 504, -32011),
    ],
)
async def test_a_call_that_did_not_get_there_is_not_taken_for_accepted(
    error: Exception, status: int, code: int
) -> None:
    async def script(call: Call) -> Answer:
        raise error

    async with serving(FakeSwitchboard(script)) as edge:
        answer = await edge.ask(CALL, path=MESSAGES)
        assert answer.status == status
        assert json.loads(answer.body)["id"] == 7
        assert json.loads(answer.body)["error"]["code"] == code
        assert (await edge.ask(path=STREAM, method="GET")).status == status
