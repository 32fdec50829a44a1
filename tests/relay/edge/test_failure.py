"""What a caller is told when there is no answer from the site."""

import json

import pytest

from penstock_relay.edge import failure

CALL = b'{"jsonrpc":"2.0","id":12345678901234567890123,"method":"tools/call","params":{"name":"x"}}'
LIST = b'{"jsonrpc":"2.0","id":"1","method":"tools/list"}'
NOTE = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'


def test_a_call_of_an_offline_site_gets_a_tool_result_in_words() -> None:
    said = failure.offline("POST", CALL, "oslo", 1_000_000.0, 1_000_185.0)
    assert said.status == 200
    assert b'"id":12345678901234567890123,' in said.body
    result = json.loads(said.body)["result"]
    assert result["isError"] is True
    text = result["content"][0]["text"]
    assert "'oslo'" in text
    assert "since 1970-01-12 13:46:40 UTC (3 minutes ago)" in text
    assert "not executed" in text


@pytest.mark.parametrize("method", ["initialize", "tools/list", "server/discover", "ping"])
def test_anything_else_gets_503_with_its_id_and_since_when(method: str) -> None:
    body = b'{"jsonrpc":"2.0","id":"1","method":"%b"}' % method.encode()
    said = failure.offline("POST", body, "oslo", 1_000_000.0, 1_000_001.0)
    message = json.loads(said.body)
    assert (said.status, said.retry_after_s) == (503, 10)
    assert message["id"] == "1"
    assert message["error"]["code"] == -32010
    assert message["error"]["data"] == {"outcome": "not_executed", "exchange": "", "retry_safe": True}
    assert "1970-01-12" in message["error"]["message"]


def test_a_site_that_was_never_connected_is_said_to_be_that() -> None:
    said = failure.offline("POST", LIST, "oslo", None, 5.0)
    assert "has not been connected" in json.loads(said.body)["error"]["message"]


@pytest.mark.parametrize(("method", "body"), [("POST", NOTE), ("GET", b""), ("DELETE", b"")])
def test_a_request_without_id_gets_503_with_a_null_id(method: str, body: bytes) -> None:
    said = failure.offline(method, body, "oslo", None, 5.0)
    assert said.status == 503
    assert json.loads(said.body)["id"] is None


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'{"jsonrpc":"2.0","id":3,"id":3,"method":"x"}'])
def test_what_is_no_message_is_refused_as_that_before_the_site_is_said_to_be_offline(body: bytes) -> None:
    said = failure.offline("POST", body, "oslo", None, 5.0)
    assert said.status == 400
    assert json.loads(said.body)["error"]["code"] in (-32700, -32600)


def test_an_unknown_outcome_is_504_and_for_a_call_a_tool_result() -> None:
    said = failure.outcome_unknown("POST", LIST, "It was cut.", "k-1")
    error = json.loads(said.body)["error"]
    assert (said.status, said.retry_after_s) == (504, None)
    assert error["code"] == -32011
    assert error["data"] == {"outcome": "outcome_unknown", "exchange": "k-1", "retry_safe": False}
    call = failure.outcome_unknown("POST", CALL, "It was cut.", "k-1")
    assert call.status == 200
    result = json.loads(call.body)["result"]
    assert result["content"] == [{"type": "text", "text": "It was cut."}]
    assert result["_meta"]["penstock/outcome"]["outcome"] == "outcome_unknown"


def test_a_message_of_http_sse_gets_no_result_that_its_sender_would_take_for_accepted() -> None:
    offline = failure.offline("POST", CALL, "oslo", None, 5.0, in_words=False)
    busy = failure.not_executed("POST", CALL, "It is busy.", 1, in_words=False)
    unknown = failure.outcome_unknown("POST", CALL, "It was cut.", "k-1", in_words=False)
    assert [said.status for said in (offline, busy, unknown)] == [503, 503, 504]
    for said, code in ((offline, -32010), (busy, -32010), (unknown, -32011)):
        assert json.loads(said.body)["error"]["code"] == code
        assert b'"id":12345678901234567890123,' in said.body


def test_an_unknown_outcome_of_what_is_no_message_is_still_unknown() -> None:
    assert failure.outcome_unknown("POST", b"{", "It was cut.").status == 504


def test_an_array_of_messages_is_503_as_a_whole() -> None:
    batch = b"[%b,%b]" % (LIST, NOTE)
    said = failure.not_executed("POST", batch, "Gone.", 5)
    assert (said.status, json.loads(said.body)["id"]) == (503, None)
    assert failure.outcome_unknown("POST", batch, "Gone.").status == 504
    assert failure.last_event("POST", batch, "Gone.", "k-1") is None
    assert failure.not_executed("POST", b"[]", "Gone.", 5).status == 400


def test_the_last_event_of_a_stream_names_the_request_and_there_is_none_without_one() -> None:
    event = failure.last_event("POST", LIST, "It was cut.", "k-1")
    assert event is not None
    assert json.loads(event)["id"] == "1"
    assert json.loads(event)["error"]["code"] == -32011
    assert failure.last_event("GET", b"", "It was cut.", "k-1") is None
    assert failure.last_event("POST", NOTE, "It was cut.", "k-1") is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "just now"), (1, "1 second ago"), (7300, "2 hours ago"), (200000, "2 days ago")],
)
def test_how_long_ago_is_said_in_one_unit(seconds: float, words: str) -> None:
    assert words in json.loads(failure.offline("POST", LIST, "oslo", 0.0, seconds).body)["error"]["message"]


def test_a_modern_call_gets_a_result_that_says_of_which_type_it_is() -> None:
    meta = b'"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}'
    modern = CALL.replace(b'"name"', meta + b',"name"')
    for call, kind in ((modern, "complete"), (CALL, None)):
        said = failure.offline("POST", call, "oslo", None, 5.0)
        assert json.loads(said.body)["result"].get("resultType") == kind
