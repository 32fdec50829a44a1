import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.http import (
    HANDSHAKE,
    KEEP_ALIVE,
    VERSION,
    Headers,
    check,
    check_messages,
    check_stream,
    every,
    first,
    forwarded,
    is_modern,
    only_listens,
    sse_event,
)

GOOD_POST: Headers = (
    ("content-type", "application/json"),
    ("accept", "application/json, text/event-stream"),
)
GOOD_GET: Headers = (("accept", "text/event-stream"),)


def without(headers: Headers, name: str) -> Headers:
    return tuple(pair for pair in headers if pair[0] != name)


def status(method: str, headers: Headers) -> int:
    refusal = check(method, headers)
    return 200 if refusal is None else refusal.status


def test_headers_are_found_in_order_with_duplicates() -> None:
    headers = (("accept", "a"), ("x", "1"), ("accept", "b"))
    assert first(headers, "accept") == "a"
    assert every(headers, "accept") == ["a", "b"]
    assert first(headers, "host") is None
    assert every(headers, "host") == []


def test_only_what_the_agent_needs_travels_duplicates_included() -> None:
    headers = (
        ("authorization", "Bearer secret"),
        ("cookie", "secret"),
        ("x-forwarded-for", "192.0.2.1"),
        ("mcp-session-id", "a.1"),
        ("mcp-session-id", "a.2"),
        ("mcp-param-region", "eu"),
        ("mcp-paramount", "no"),
        ("last-event-id", "7"),
        ("host", "relay"),
    )
    assert forwarded(headers) == (
        ("mcp-session-id", "a.1"),
        ("mcp-session-id", "a.2"),
        ("mcp-param-region", "eu"),
        ("last-event-id", "7"),
    )


def test_good_requests_pass() -> None:
    assert check("POST", GOOD_POST) is None
    assert check("GET", GOOD_GET) is None
    assert check("DELETE", ()) is None


@pytest.mark.parametrize("method", ["PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "post", ""])
def test_other_methods_are_405_and_say_which_are_allowed(method: str) -> None:
    refusal = check(method, GOOD_POST)
    assert refusal is not None
    assert refusal.status == 405
    assert refusal.headers == (("allow", "GET, POST, DELETE"),)


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "identity, gzip", "x"])
def test_compressed_bodies_are_415(method: str, coding: str) -> None:
    assert status(method, (*GOOD_POST, ("content-encoding", coding))) == 415
    assert status(method, (*GOOD_POST, ("content-encoding", "identity"))) == 200


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", 200),
        ("Application/JSON ; charset=UTF-8", 200),
        ('application/json;charset="utf-8"', 200),
        ("application/json; charset=utf-16", 415),
        ("application/json; charset=latin-1", 415),
        ("text/plain", 415),
        ("application/jsonp", 415),
        ("application/json, text/plain", 415),
        ("", 415),
    ],
)
def test_a_post_is_json_in_utf8_or_415(content_type: str, expected: int) -> None:
    assert status("POST", (*without(GOOD_POST, "content-type"), ("content-type", content_type))) == expected


def test_a_post_with_no_or_two_content_types_is_415() -> None:
    assert status("POST", without(GOOD_POST, "content-type")) == 415
    assert status("POST", (*GOOD_POST, ("content-type", "application/json"))) == 415


@pytest.mark.parametrize(
    ("accept", "post", "get"),
    [
        ("*/*", 200, 200),
        ("application/*, text/*", 200, 200),
        ("application/json", 406, 406),
        ("text/event-stream", 406, 200),
        ("application/json, text/event-stream", 200, 200),
        ("APPLICATION/JSON;q=0.9 , Text/Event-Stream ; q=0.1", 200, 200),
        ("text/html", 406, 406),
        ("*/*, text/event-stream;q=0", 406, 406),
        ("text/event-stream, */*;q=0", 406, 200),
        ("application/json;q=0, application/*, text/*", 406, 200),
        ("application/json, text/event-stream;q=0, text/event-stream;q=1", 200, 200),
        ("application/json; q=what, text/event-stream", 200, 200),
        ("", 200, 406),
    ],
)
def test_accept_covers_what_the_answer_may_be_or_406(accept: str, post: int, get: int) -> None:
    assert status("POST", (*without(GOOD_POST, "accept"), ("accept", accept))) == post
    assert status("GET", (("accept", accept),)) == get


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "HEAD", "OPTIONS", "get", ""])
def test_an_event_stream_of_http_sse_is_opened_with_get_and_nothing_else(method: str) -> None:
    refusal = check_stream(method, GOOD_POST)
    assert refusal is not None
    assert refusal.status == 405
    assert refusal.headers == (("allow", "GET"),)
    assert check_stream("GET", GOOD_GET) is None
    assert check_stream("GET", (("accept", "*/*"),)) is None
    wrong = check_stream("GET", (("accept", "application/json"),))
    assert wrong is not None
    assert wrong.status == 406


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "HEAD", "OPTIONS", "post", ""])
def test_messages_of_http_sse_are_posted_and_nothing_else(method: str) -> None:
    refusal = check_messages(method, GOOD_GET)
    assert refusal is not None
    assert refusal.status == 405
    assert refusal.headers == (("allow", "POST"),)


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/event-stream", "text/html", ""])
def test_what_accept_says_of_a_message_of_http_sse_does_not_matter(accept: str) -> None:
    assert check_messages("POST", (("content-type", "application/json"), ("accept", accept))) is None
    assert check_messages("POST", (("content-type", "application/json"),)) is None
    wrong = check_messages("POST", (("content-type", "text/plain"), ("accept", accept)))
    assert wrong is not None
    assert wrong.status == 415


def test_an_absent_accept_is_anything_for_a_post_and_nothing_for_a_get() -> None:
    assert status("POST", without(GOOD_POST, "accept")) == 200
    assert status("GET", ()) == 406
    assert status("DELETE", ()) == 200


def test_accept_may_be_spread_over_several_lines() -> None:
    headers = (
        ("content-type", "application/json"),
        ("accept", "application/json"),
        ("accept", "text/event-stream"),
    )
    assert status("POST", headers) == 200


def test_the_first_cause_in_order_is_the_one_named() -> None:
    bad: Headers = (("content-encoding", "gzip"), ("content-type", "text/plain"), ("accept", "text/html"))
    assert status("PUT", bad) == 405
    refusal = check("POST", bad)
    assert refusal is not None
    assert "compressed" in refusal.text
    refusal = check("POST", bad[1:])
    assert refusal is not None
    assert "Content-Type" in refusal.text
    assert status("POST", (GOOD_POST[0], bad[2])) == 406


@given(
    st.sampled_from(["GET", "POST", "DELETE", "PUT"]),
    st.lists(
        st.tuples(
            st.sampled_from(["accept", "content-type", "content-encoding"]),
            st.text('aj/*;,q=0.1 "', max_size=20),
        )
    ),
)
def test_any_headers_get_an_answer(method: str, headers: list[tuple[str, str]]) -> None:
    assert status(method, tuple(headers)) in {200, 405, 406, 415}


def test_an_event_has_its_fields_in_their_form() -> None:
    assert sse_event(b"{}") == b"event: message\ndata: {}\n\n"
    assert (
        sse_event(b"{}", event_id="a.1", retry_ms=500) == b"event: message\nid: a.1\nretry: 500\ndata: {}\n\n"
    )
    assert KEEP_ALIVE.startswith(b":")
    assert KEEP_ALIVE.endswith(b"\n\n")


@pytest.mark.parametrize("data", [b"a\nb", b"a\rb", b"\n", b"{}\n\nevent: message\ndata: forged"])
def test_payload_cannot_forge_events(data: bytes) -> None:
    with pytest.raises(ValueError, match="one line"):
        sse_event(data)


@pytest.mark.parametrize("event_id", ["a\nb", "a\rb", "a\0b"])
def test_an_event_id_cannot_forge_fields(event_id: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        sse_event(b"{}", event_id=event_id)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("accept", ["text/event-stream", "text/html"])
def test_since_2026_07_28_only_post_is_allowed(method: str, accept: str) -> None:
    refusal = check(method, (("accept", accept), (VERSION, "2026-07-28")))
    assert refusal is not None
    assert (refusal.status, refusal.headers) == (405, (("allow", "POST"),))
    assert check("POST", (*GOOD_POST, (VERSION, "2026-07-28"))) is None
    for version in HANDSHAKE:
        assert check(method, (*GOOD_GET, (VERSION, version))) is None


def test_a_version_that_nobody_knows_can_only_be_a_newer_one() -> None:
    assert not any(is_modern(version) for version in (None, *HANDSHAKE))
    assert all(is_modern(version) for version in ("2026-07-28", "2099-01-01", "nonsense", ""))


def test_what_only_listens_is_a_get_or_a_subscription() -> None:
    listen = (("mcp-method", "subscriptions/listen"), (VERSION, "2026-07-28"))
    assert only_listens("GET", ())
    assert only_listens("POST", listen)
    assert not only_listens("POST", listen[:1])
    assert not only_listens("POST", (listen[0], (VERSION, "2025-11-25")))
    assert not only_listens("POST", (("mcp-method", "tools/call"), listen[1]))
    assert not only_listens("DELETE", listen)
