"""One request through a running edge: judged, read, exchanged, answered."""

from __future__ import annotations

import asyncio
import ipaddress
import json

import pytest

from penstock.http import EVENT_STREAM
from penstock.names import WHOLE_SITE
from penstock.principal import Principal
from penstock.tunnel.frames import DoneReason, Purpose
from penstock_relay.access import AccessUnavailable
from penstock_relay.edge import handler
from penstock_relay.edge.callers import Callers
from penstock_relay.edge.limits import Limits
from penstock_relay.oauth.web import MAX_BODY, Peer, Reply
from penstock_relay.oauth.web import Asked as PageAsked
from penstock_relay.switchboard import Answer, Call, NotExecuted, Offline, OutcomeUnknown
from tests.harness.fake_switchboard import FakeAccess, FakeAnswer, FakeGrant, FakeSwitchboard
from tests.relay.edge.serving import CALL, LIST, WAIT, Served, serving

KNOWN = frozenset(
    {"content-type", "content-length", "date", "connection", "retry-after", "allow", "www-authenticate"}
)


def raising(error: Exception) -> FakeSwitchboard:
    async def script(call: Call) -> Answer:
        raise error

    return FakeSwitchboard(script)


async def test_a_request_becomes_a_call_with_what_may_travel_and_nothing_else() -> None:
    access = FakeAccess({"good": FakeGrant(principal=Principal("penstock", "svc:ci", name="ci"))})
    async with serving(access=access) as edge:
        answer = await edge.ask(
            LIST,
            path="/oslo/files/mcp?token=x",
            mcp_session_id="abc",
            mcp_param_region="no",
            cookie="c=1",
            x_forwarded_for="10.0.0.1",
            user_agent="openai-mcp/1.0.0 (ChatGPT)",
        )
        assert (answer.status, answer.body) == (200, LIST)
        (call,) = edge.switchboard.calls
    assert (call.site, call.server, call.method, call.body) == ("oslo", "files", "POST", LIST)
    assert call.principal == Principal("penstock", "svc:ci", name="ci")
    assert call.purpose is Purpose.MCP
    assert (call.deadline_s, call.no_byte_s) == (110.0, 55.0)
    assert call.headers == (
        ("accept", "application/json, text/event-stream"),
        ("content-type", "application/json"),
        ("mcp-session-id", "abc"),
        ("mcp-param-region", "no"),
    )


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_get_and_delete_have_no_body(method: str) -> None:
    async with serving() as edge:
        assert (await edge.ask(method=method)).status == 200
        assert edge.switchboard.calls[0].body == b""


async def test_a_small_answer_is_one_message_with_its_length_and_no_header_too_many() -> None:
    async def script(call: Call) -> Answer:
        return FakeAnswer([b'{"a"', b":1}"], headers=(("mcp-session-id", "s"),))

    async with serving(FakeSwitchboard(script)) as edge:
        answer = await edge.ask()
    assert answer.body == b'{"a":1}'
    assert answer.headers["content-length"] == "7"
    assert answer.headers["mcp-session-id"] == "s"
    assert set(answer.headers) <= KNOWN | {"mcp-session-id"}


@pytest.mark.parametrize("status", [202, 204])
async def test_an_answer_without_a_body_has_none(status: int) -> None:
    async def script(call: Call) -> Answer:
        return FakeAnswer(status=status)

    async with serving(FakeSwitchboard(script)) as edge, edge.caller() as caller:
        for _ in range(2):  # the second shows that nothing of the first was left over
            answer = await caller.ask()
            assert (answer.status, answer.body) == (status, b"")


async def test_every_combination_of_no_access_is_the_same_bytes() -> None:
    access = FakeAccess(
        {"good": FakeGrant(server="files"), "whole": FakeGrant(), "other": FakeGrant(site="bergen")}
    )
    async with serving(access=access) as edge:
        answers = [
            await edge.ask(path="/oslo/crm/mcp"),
            await edge.ask(path="/bergen/files/mcp"),
            await edge.ask(path="/nowhere/files/mcp"),
            await edge.ask(path="/oslo/unknown/mcp", authorization="Bearer whole"),
            await edge.ask(path="/oslo/files/mcp", authorization="Bearer other"),
            await edge.ask(path="/oslo/unknown/mcp", authorization="Bearer whole", method="PUT"),
        ]
        assert edge.switchboard.calls == []
    for answer in answers:
        answer.headers.pop("date")
    assert [answer.status for answer in answers] == [404] * len(answers)
    assert all(answer == answers[0] for answer in answers)


async def test_metadata_and_unknown_paths_are_404_without_looking_up_a_token() -> None:
    async with serving() as edge:
        for path in (
            "/",
            "/.well-known/oauth-protected-resource/oslo/files/mcp",
            "/.well-known/oauth-protected-resource/oslo/files/sse",
            "/.well-known/oauth-protected-resource/oslo/mcp",
            "/oslo/sse",
        ):
            assert (await edge.ask(path=path, method="GET", authorization=None)).status == 404
        assert edge.access.asked == 0


async def test_a_call_for_all_servers_of_a_site_goes_to_the_site_without_a_server() -> None:
    async with serving() as edge:
        for path in ("/oslo/mcp", "/oslo/mcp/"):
            assert (await edge.ask(path=path)).status == 200
        assert [(call.site, call.server) for call in edge.switchboard.calls] == [("oslo", WHOLE_SITE)] * 2


async def test_nothing_is_looked_up_for_a_token_that_is_not_for_the_site() -> None:
    async with serving() as edge:
        await edge.ask(authorization="Bearer bad")
        await edge.ask(path="/bergen/files/mcp")
        assert edge.switchboard.looked_up == []
        await edge.ask()
        assert edge.switchboard.looked_up == [("oslo", "files")]


async def test_a_bad_token_is_401_for_every_well_formed_path() -> None:
    async with serving() as edge:
        for path in ("/oslo/files/mcp", "/nowhere/nothing/mcp"):
            answer = await edge.ask(path=path, authorization="Bearer bad")
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == 'bearer realm="penstock", error="invalid_token"'
        assert (await edge.ask(authorization=None)).headers["www-authenticate"] == 'bearer realm="penstock"'


async def test_a_token_that_cannot_be_checked_now_is_503() -> None:
    access = FakeAccess()
    access.error = AccessUnavailable("The store does not answer. Try again.")
    async with serving(access=access) as edge:
        answer = await edge.ask()
    assert (answer.status, answer.headers["retry-after"]) == (503, "10")
    assert answer.body == b"The store does not answer. Try again.\n"


async def test_refusals_are_given_in_the_published_order() -> None:
    async with serving() as edge:
        expected: list[tuple[int, dict[str, str | None]]] = [
            (421, {"host": "evil.example.com", "origin": "x"}),
            (403, {"origin": "http://evil.example.com", "path": "/x"}),
            (404, {"path": "/x", "authorization": "Bearer bad"}),
            (401, {"authorization": "Bearer bad", "path": "/bergen/x/mcp"}),
            (404, {"path": "/bergen/x/mcp", "method": "PUT"}),
            (405, {"method": "PUT", "content_encoding": "gzip"}),
            (415, {"content_encoding": "gzip", "accept": "text/html"}),
            (415, {"content_type": "text/plain", "accept": "text/html"}),
            (406, {"accept": "text/html"}),
        ]
        for status, changes in expected:
            assert (await edge.ask(LIST, **changes)).status == status, changes
        answer = await edge.ask(method="PUT")
        assert answer.headers["allow"] == "get, post, delete"
        assert edge.stats.by_class[4] == len(expected) + 1


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_may_be_as_long_as_the_limit_and_no_longer(chunked: bool) -> None:
    async with serving(limits=Limits(body=1000, linger_s=0.05)) as edge:
        for size, status in ((1000, 200), (1001, 413)):
            async with edge.caller() as caller:
                if chunked:
                    caller.writer.write(caller.head(Transfer_Encoding="chunked"))
                    caller.writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size))
                else:
                    caller.send(b"x" * size)
                assert (await caller.response()).status == status
        assert edge.stats.request_bytes == 0


async def test_request_bytes_of_all_callers_have_a_common_bound() -> None:
    released = asyncio.Event()

    async def script(call: Call) -> Answer:
        await released.wait()
        return FakeAnswer([b"{}"])

    async with serving(FakeSwitchboard(script), limits=Limits(bodies=1000, linger_s=0.05)) as edge:
        async with edge.caller() as first:
            first.send(b"x" * 900)
            async with asyncio.timeout(WAIT):
                while edge.stats.request_bytes < 900:
                    await asyncio.sleep(0)
            refused = await edge.ask(b"x" * 101)
            assert refused.status == 503
            assert b"not executed" in refused.body
            assert refused.headers["retry-after"] == "10"
            async with edge.caller() as chunked:
                chunked.writer.write(chunked.head(Transfer_Encoding="chunked"))
                chunked.writer.write(b"65\r\n%b\r\n0\r\n\r\n" % (b"x" * 0x65))
                assert (await chunked.response()).status == 503
            released.set()
            assert (await edge.ask(b"x" * 100)).status == 200
            assert (await first.response()).status == 200
        assert (await edge.ask(b"x" * 1000)).status == 200
        assert edge.stats.request_bytes == 0


async def test_a_call_of_an_offline_site_is_answered_in_words_and_a_list_with_503() -> None:
    async with serving(raising(Offline(1_000_000.0))) as edge:
        call = await edge.ask(CALL)
        assert call.status == 200
        assert json.loads(call.body)["result"]["isError"] is True
        listed = await edge.ask(LIST)
        assert (listed.status, listed.headers["retry-after"]) == (503, "10")
        assert listed.headers["content-type"] == "application/json"
        assert json.loads(listed.body)["id"] == "a"
        assert (await edge.ask(method="GET")).status == 503
        assert (await edge.ask(b"{")).status == 400


async def test_what_was_not_executed_is_said_to_be_that() -> None:
    async with serving(raising(NotExecuted("The agent is full. It was not executed.", 3))) as edge:
        listed = await edge.ask(LIST)
        assert (listed.status, listed.headers["retry-after"]) == (503, "3")
        assert json.loads(listed.body)["error"] == {
            "code": -32010,
            "message": "The agent is full. It was not executed.",
            "data": {"outcome": "not_executed", "exchange": "", "retry_safe": True},
        }
        assert json.loads((await edge.ask(CALL)).body)["result"]["isError"] is True


async def test_what_may_have_run_is_said_to_be_that() -> None:
    async with serving(raising(OutcomeUnknown("The link was lost."))) as edge:
        listed = await edge.ask(LIST)
        assert listed.status == 504
        assert "retry-after" not in listed.headers
        assert json.loads(listed.body)["error"]["code"] == -32011
        call = json.loads((await edge.ask(CALL)).body)
        assert call["id"] == 7
        assert call["result"]["content"][0]["text"] == "The link was lost."


async def test_a_caller_that_goes_while_it_waits_ends_its_exchange() -> None:
    async def script(call: Call) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    switchboard = FakeSwitchboard(script)
    async with serving(switchboard) as edge:
        async with edge.caller() as caller:
            caller.send()
            async with asyncio.timeout(WAIT):
                while not edge.stats.in_flight:
                    await asyncio.sleep(0)
        async with asyncio.timeout(WAIT):
            await switchboard.cancelled.wait()
        assert (edge.stats.in_flight, edge.stats.request_bytes) == (0, 0)


@pytest.mark.parametrize(
    "answer",
    [
        {"content_type": "text/html"},
        {"content_type": "image/svg+xml"},
        {"status": 302},
        {"status": 101},
        {"headers": (("location", "https://evil.example.com"),)},
        {"headers": (("set-cookie", "a=b"),)},
        {"headers": (("mcp-session-id", "a\r\nset-cookie: x"),)},
        {"headers": (("content-type", "text/html"),)},
    ],
)
async def test_a_site_cannot_answer_what_a_browser_would_act_on(answer: dict[str, object]) -> None:
    given = FakeAnswer([b"<script>"], **answer)  # type: ignore[arg-type]  # each of the right type

    async def script(call: Call) -> Answer:
        return given

    async with serving(FakeSwitchboard(script)) as edge:
        got = await edge.ask(LIST)
    assert got.status == 504
    assert json.loads(got.body)["error"]["data"]["exchange"] == given.key
    assert set(got.headers) <= KNOWN
    assert given.reasons == [DoneReason.CLIENT_GONE]


async def test_a_caller_of_http_1_0_gets_its_answer_and_the_end_of_the_connection() -> None:
    events = FakeAnswer([b"data: 1\n\n", b"data: 2\n\n"], content_type=EVENT_STREAM)

    async def script(call: Call) -> Answer:
        return events

    async with serving(FakeSwitchboard(script)) as edge, edge.caller() as caller:
        head = caller.head(Content_Length="2").replace(b"HTTP/1.1", b"HTTP/1.0")
        caller.writer.write(head + b"{}")
        assert (await caller.begin()).status == 200
        assert await caller.closed() == b"data: 1\n\ndata: 2\n\n"


# -- the relay's own pages ---------------------------------------------------------------------------


class OnePage:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[PageAsked] = []

    async def handle(self, asked: PageAsked) -> Reply:
        self.asked.append(asked)
        cookies = (("set-cookie", "a=1"), ("set-cookie", "b=2"))
        return Reply(201, b"<p>", (("content-type", "text/html"), *cookies))


async def test_a_page_of_the_relays_own_is_asked_with_all_headers_and_answered_as_it_says() -> None:
    pages = OnePage()
    async with serving(pages=pages) as served:
        data = b"a=1&b=2"
        head = b"POST /oauth/login?x=%%20y HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nCookie: c=3\r\n" % served.port
        whole = head + b"Content-Length: 7\r\nConnection: close\r\n\r\n" + data
        (response,) = await served.raw(whole)
        assert (response.status, response.body) == (201, b"<p>")
        assert response.headers["content-type"] == "text/html"
    (asked,) = pages.asked
    assert (asked.method, asked.path, asked.query, asked.body) == ("POST", "/oauth/login", "x=%20y", data)
    assert ("cookie", "c=3") in asked.headers
    assert asked.peer == Peer("127.0.0.1", shared=True)
    assert not served.access.asked


async def test_a_page_is_told_for_whom_a_trusted_proxy_asks() -> None:
    pages = OnePage()
    async with serving(pages=pages, trusted_proxies=[ipaddress.ip_network("127.0.0.0/8")]) as served:
        head = b"GET /oauth/grants HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % served.port
        forged = b"X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: ftp\r\n"
        await served.raw(head + forged + b"Connection: close\r\n\r\n")
    (asked,) = pages.asked
    assert asked.peer == Peer("192.0.2.1", shared=False)


async def test_calls_from_elsewhere_are_refused_before_their_token_is_looked_up() -> None:
    elsewhere = Callers([ipaddress.ip_network("192.0.2.0/24")], [ipaddress.ip_network("127.0.0.0/8")])
    async with serving(callers=elsewhere) as served:
        assert (await served.ask()).status == 403
        assert not served.access.asked
        assert (await served.ask(x_forwarded_for="192.0.2.1")).status == 200
        elsewhere.replace([ipaddress.ip_network("127.0.0.0/8")])
        assert (await served.ask()).status == 200


async def test_a_form_that_is_too_long_is_refused_before_it_is_read() -> None:
    pages = OnePage()
    async with serving(pages=pages) as served:
        head = b"POST /oauth/token HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % served.port
        (response,) = await served.raw(head + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1))
        assert response.status == 413
        chunk = b"%x\r\n%b\r\n" % (MAX_BODY + 1, b"a" * (MAX_BODY + 1))
        (response,) = await served.raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n")
        assert response.status == 413
    assert not pages.asked


# -- the right to a request is withdrawn while it runs -----------------------------------------------


def revoke(served: Served) -> None:
    del served.access.grants["good"]
    served.access.change.set()


async def test_a_call_that_waits_for_the_site_is_ended_as_revoked_and_its_caller_told() -> None:
    waiting = asyncio.Event()
    ending: list[DoneReason] = []

    async def never(call: Call) -> Answer:
        waiting.set()
        try:
            await asyncio.get_running_loop().create_future()
            raise AssertionError("nobody answers")
        finally:
            ending.append(call.ending())

    async with serving(FakeSwitchboard(never)) as served, asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(served.ask(CALL))
        await waiting.wait()
        revoke(served)
        response = await asked
        assert b"withdrawn" in response.body
        assert b"outcome_unknown" in response.body
        assert ending == [DoneReason.REVOKED]
        assert (await served.ask(CALL)).status == 401


async def test_a_stream_ends_as_revoked_and_those_of_others_go_on() -> None:
    answers = [FakeAnswer(content_type=EVENT_STREAM, complete=False) for _ in range(2)]
    todo = list(answers)

    async def next_one(call: Call) -> Answer:
        return todo.pop(0)

    access = FakeAccess({"good": FakeGrant(), "other": FakeGrant()})
    async with (
        serving(FakeSwitchboard(next_one), access) as served,
        served.caller() as mine,
        served.caller() as theirs,
    ):
        for caller, token in ((mine, "good"), (theirs, "other")):
            caller.writer.write(caller.head("GET", Authorization=f"Bearer {token}"))
            assert b"200" in await caller.reader.readuntil(b"\r\n\r\n")
        revoke(served)
        await answers[0].closed.wait()
        assert answers[0].reasons == [DoneReason.REVOKED]
        assert await mine.reader.readuntil(b"0\r\n\r\n")
        answers[1].feed(b"data: on\n\n")
        assert b"data: on" in await theirs.reader.readuntil(b"on\n\n")
        assert not answers[1].reasons


async def test_who_is_no_member_any_more_loses_what_runs_and_an_unreadable_store_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handler, "RECHECK_S", 0.0)
    answer = FakeAnswer(content_type=EVENT_STREAM, complete=False)

    async def only(call: Call) -> Answer:
        return answer

    async with serving(FakeSwitchboard(only)) as served, served.caller() as caller:
        caller.writer.write(caller.head("GET"))
        await caller.reader.readuntil(b"\r\n\r\n")
        served.access.error = AccessUnavailable("not now")
        asked = served.access.asked
        served.access.change.set()
        while served.access.asked < asked + 3:
            await asyncio.sleep(0)
        assert not answer.reasons
        served.access.grants["good"] = FakeGrant(member=False)
        served.access.error = None
        await answer.closed.wait()
        assert answer.reasons == [DoneReason.REVOKED]


async def test_an_issuer_that_never_answers_keeps_nobody_elses_right_alive() -> None:
    answers = [FakeAnswer(content_type=EVENT_STREAM, complete=False) for _ in range(2)]
    todo = list(answers)

    async def next_one(call: Call) -> Answer:
        return todo.pop(0)

    access = FakeAccess({"good": FakeGrant(), "dark": FakeGrant()})
    async with (
        serving(FakeSwitchboard(next_one), access) as served,
        served.caller() as mine,
        served.caller() as theirs,
    ):
        for caller, token in ((mine, "good"), (theirs, "dark")):
            caller.writer.write(caller.head("GET", Authorization=f"Bearer {token}"))
            assert b"200" in await caller.reader.readuntil(b"\r\n\r\n")
        access.dark.add("dark")
        revoke(served)
        await answers[0].closed.wait()
        assert answers[0].reasons == [DoneReason.REVOKED]
        assert not answers[1].reasons
