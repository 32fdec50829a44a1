from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.envelope import Kind, Message, request
from penstock_agent.endpoint.bridge.up import translate
from penstock_agent.endpoint.bridge.up.translate import Client
from tests.harness.jsontext import json_objects

META = "io.modelcontextprotocol/"

metas = st.dictionaries(
    st.sampled_from(["x", "traceparent", META + "logLevel", META + "serverInfo", META + "protocolVersion"]),
    st.integers(),
)


@st.composite
def _objects(draw: st.DrawFn) -> bytes:
    """Anything, often with a ``_meta``, which is now and then no object."""
    found = json.loads(draw(json_objects.filter(lambda text: "e400" not in text)))
    meta = draw(st.one_of(st.none(), metas, st.just(3)))
    return json.dumps(found if meta is None else {**found, "_meta": meta}).encode()


objects = _objects()


def client(version: str = "2025-11-25", **capabilities: object) -> Client:
    params = {
        "protocolVersion": version,
        "capabilities": capabilities,
        "clientInfo": {"name": "c", "version": "1"},
    }
    return Client.of(request(b"1", "initialize", json.dumps(params).encode()))


def response(result: object) -> Message:
    return Message(Kind.RESPONSE, b"1", None, None, json.dumps(result).encode(), None)


def test_a_client_of_a_version_that_nobody_knows_gets_our_newest() -> None:
    assert client("2031-01-01").version == "2025-11-25"
    assert client("2024-11-05").version == "2024-11-05"


def test_the_experimental_tasks_of_a_client_are_not_those_of_the_extension() -> None:
    assert json.loads(client(tasks={}, roots={}).capabilities) == {"roots": {}}


@pytest.mark.parametrize(
    ("capabilities", "method", "params", "may"),
    [
        ({"elicitation": {}}, "elicitation/create", b"{}", True),
        ({"elicitation": {}}, "elicitation/create", b'{"mode":"form"}', True),
        ({"elicitation": {}}, "elicitation/create", b'{"mode":"url"}', False),
        ({"elicitation": {"url": {}}}, "elicitation/create", b'{"mode":"url"}', True),
        ({}, "elicitation/create", b"{}", False),
        ({"sampling": {}}, "sampling/createMessage", b"{}", True),
        ({"sampling": {}}, "roots/list", b"{}", False),
        ({"roots": {}}, "roots/list", b"{}", True),
        ({"tools": {}}, "tools/call", b"{}", False),
    ],
)
def test_only_what_a_client_says_that_it_answers_is_asked(
    capabilities: dict[str, object], method: str, params: bytes, may: bool
) -> None:
    assert client("2025-11-25", **capabilities).may_be_asked(method, params) is may


@given(objects)
def test_what_is_added_to_a_request_leaves_all_else_as_it_was(params: bytes) -> None:
    before = json.loads(params)
    if not isinstance(before.get("_meta", {}), dict):
        with pytest.raises(ValueError, match="not an object"):
            translate.for_server(request(b"1", "tools/call", params), client(), None, {})
        return
    after = translate.for_server(request(b"1", "tools/call", params), client(), "info", {}).params
    found = json.loads(after or b"")
    meta = found.pop("_meta")
    for name in ("protocolVersion", "clientCapabilities", "clientInfo", "logLevel"):
        assert META + name in meta
        before.get("_meta", {}).pop(META + name, None)
        del meta[META + name]
    assert meta == before.pop("_meta", {})
    assert found == before


@given(objects)
def test_what_is_taken_out_of_a_result_leaves_all_else_as_it_was(result: bytes) -> None:
    whole = {**json.loads(result), "resultType": "complete", "ttlMs": 1, "cacheScope": "public"}
    stripped = json.loads(translate.result(json.dumps(whole).encode()))
    for name in ("resultType", "ttlMs", "cacheScope"):
        del whole[name]
    if isinstance(whole.get("_meta"), dict) and META + "serverInfo" in whole["_meta"]:
        del whole["_meta"][META + "serverInfo"]
        if not whole["_meta"]:
            del whole["_meta"]
    assert stripped == whole


def test_a_result_with_nothing_to_take_out_stays_the_same_bytes() -> None:
    assert translate.result(b'{ "a" : 1.0 , "_meta": {"x":2}}') == b'{ "a" : 1.0 , "_meta": {"x":2}}'


def test_a_result_of_an_extension_stays_what_it_says() -> None:
    assert json.loads(translate.result(b'{"resultType":"task","taskId":"t"}')) == {
        "resultType": "task", "taskId": "t"
    }  # fmt: skip


def test_a_server_that_does_not_say_its_name_has_that_of_the_site() -> None:
    told = json.loads(translate.initialized(b'{"capabilities":{}}', client(), "files"))
    assert told["serverInfo"] == {"name": "files", "version": "unknown"}
    assert "instructions" not in told


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ({"resultType": "input_required"}, "does not say which"),
        ({"resultType": "input_required", "inputRequests": []}, "not an object"),
        ({"resultType": "input_required", "inputRequests": {"a": 1}}, "names no method"),
        ({"resultType": "input_required", "inputRequests": {str(n): {} for n in range(17)}}, "more than 16"),
    ],
)
def test_a_broken_wish_is_not_passed_on(result: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        translate.wanted(request(b"1", "tools/call", b"{}"), response(result))


@pytest.mark.parametrize("method", ["tools/list", "completion/complete"])
def test_only_some_methods_may_want_something_first(method: str) -> None:
    answer = response({"resultType": "input_required", "requestState": "s"})
    assert translate.wanted(request(b"1", method, b"{}"), answer) is None


@pytest.mark.parametrize(
    ("version", "params", "told"),
    [
        ("2025-11-25", {"mode": "form", "message": "m"}, {"mode": "form", "message": "m"}),
        ("2025-06-18", {"mode": "form", "message": "m"}, {"message": "m"}),
        ("2025-11-25", {"mode": "url", "url": "u"}, {"mode": "url", "url": "u", "elicitationId": "one"}),
        ("2025-11-25", {"mode": "url", "elicitationId": "x"}, {"mode": "url", "elicitationId": "x"}),
    ],
)
def test_an_elicitation_has_the_form_of_the_clients_version(
    version: str, params: dict[str, object], told: dict[str, object]
) -> None:
    raw = json.dumps(params).encode()
    assert json.loads(translate.question("elicitation/create", raw, client(version), "one")) == told


@given(st.dictionaries(st.text(max_size=3), st.integers()))
def test_a_notification_of_a_subscription_does_not_say_of_which(meta: dict[str, int]) -> None:
    params = {"uri": "a://b", "_meta": {**meta, META + "subscriptionId": "s"}}
    note = Message(Kind.NOTIFICATION, None, "n", json.dumps(params).encode(), None, None)
    found = json.loads(translate.notified(note).params or b"")
    assert found == ({"uri": "a://b", "_meta": meta} if meta else {"uri": "a://b"})
