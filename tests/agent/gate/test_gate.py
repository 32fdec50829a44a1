"""The choke point: what may go in, and what of a child's messages may go out."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.allowance import Allowance
from penstock.envelope import Kind, Message, notification, request
from penstock.principal import Principal
from penstock_agent.gate.expose import Expose
from penstock_agent.gate.gate import Gate
from penstock_agent.gate.methods import LISTS, OPEN, USES, knows
from penstock_agent.gate.view import Allowed, Denied

ALICE = Principal("https://idp.example", "alice")


def gate(*entries: str) -> Gate:
    return Gate.of({"files": entries})


def asks(method: str, **params: object) -> Message:
    return request(b"1", method, json.dumps(params).encode())


def allowed(gate: Gate, message: Message, server: str = "files") -> bool:
    verdict = gate.inbound(server, ALICE, message)
    assert isinstance(verdict, Allowed | Denied)
    return isinstance(verdict, Allowed)


def response(result: bytes) -> Message:
    return Message(Kind.RESPONSE, b"1", None, None, result, None)


@pytest.mark.parametrize(
    ("entry", "message", "hidden"),
    [
        ("tool:a*", asks("tools/call", name="ab"), asks("tools/call", name="ba")),
        ("prompt:a*", asks("prompts/get", name="ab"), asks("prompts/get", name="b")),
        ("resource:a://*", asks("resources/read", uri="a://b"), asks("resources/read", uri="a://b/c")),
        (
            "resource:a://*",
            asks("resources/subscribe", uri="a://b"),
            asks("resources/subscribe", uri="b://b"),
        ),
        (
            "resource:a://*",
            asks("resources/unsubscribe", uri="a://b"),
            asks("resources/unsubscribe", uri="b://b"),
        ),
        (
            "prompt:a",
            asks("completion/complete", ref={"type": "ref/prompt", "name": "a"}),
            asks("completion/complete", ref={"type": "ref/prompt", "name": "b"}),
        ),
        (
            "resource:a://*",
            asks("completion/complete", ref={"type": "ref/resource", "uri": "a://{x}"}),
            asks("completion/complete", ref={"type": "ref/resource", "uri": "b://{x}"}),
        ),
        ("method:x/*", asks("x/y", anything=1), asks("y/x")),
    ],
)
def test_an_item_can_be_used_when_it_is_exposed_and_only_then(
    entry: str, message: Message, hidden: Message
) -> None:
    assert allowed(gate(entry), message)
    assert not allowed(gate(entry), hidden)
    assert not allowed(gate(), message)
    assert not allowed(gate(entry), message, server="other")


@pytest.mark.parametrize("method", sorted({*OPEN, *LISTS}))
def test_requests_that_name_no_item_are_allowed_even_where_nothing_is_exposed(method: str) -> None:
    assert allowed(gate(), asks(method))


@pytest.mark.parametrize(
    "message",
    [
        request(b"1", "tools/call", None),
        request(b"1", "tools/call", b"{}"),
        request(b"1", "tools/call", b'{"name":1}'),
        request(b"1", "tools/call", b'{"name":["a"]}'),
        request(b"1", "completion/complete", None),
        asks("completion/complete", ref={"type": "ref/tool", "name": "a"}),
        asks("completion/complete", ref="ref/prompt"),
        asks("tools/Call", name="a"),
        asks("tools/call ", name="a"),
        asks("server/discovery"),
    ],
)
def test_what_names_nothing_known_is_denied(message: Message) -> None:
    assert not allowed(gate("*", "prompt:*", "resource:**"), message)


def test_hidden_and_non_existent_look_the_same() -> None:
    verdicts = {
        gate("tool:a").inbound("files", ALICE, asks("tools/call", name=name)) for name in ("b", "c", "x y")
    }
    assert len(verdicts) == 1


@given(st.text(max_size=30))
def test_a_denial_repeats_nothing_that_the_caller_sent(name: str) -> None:
    first = gate().inbound("files", ALICE, asks("tools/call", name=name))
    second = gate().inbound("files", ALICE, asks("tools/call", name="another"))
    assert first == second


@pytest.mark.parametrize("method", ["notifications/cancelled", "notifications/roots/list_changed"])
def test_notifications_of_mcp_and_answers_of_callers_pass(method: str) -> None:
    assert allowed(gate(), notification(method, None))
    assert allowed(gate(), response(b"{}"))


TOOL = b'{"name":"read","inputSchema":{"n": 1234567890123456789012345678901234567890 },"x":"\\u00e4"}'


@pytest.mark.parametrize(
    ("method", "entry", "member", "key"),
    [
        ("tools/list", "tool:read", "tools", "name"),
        ("prompts/list", "prompt:read", "prompts", "name"),
        ("resources/list", "resource:read", "resources", "uri"),
        ("resources/templates/list", "resource:read", "resourceTemplates", "uriTemplate"),
    ],
)
def test_a_list_shows_what_is_exposed_byte_for_byte_and_keeps_its_other_members(
    method: str, entry: str, member: str, key: str
) -> None:
    item = TOOL.replace(b'"name"', b'"%b"' % key.encode())
    hidden = b'{"%b":"write"}' % key.encode()
    result = b'{"_meta":{"a": 1},"%b": [ %b , %b ],"nextCursor":"n"}' % (member.encode(), hidden, item)
    shown = gate(entry).outbound("files", ALICE, asks(method), response(result))
    assert shown is not None
    assert shown.result == b'{"_meta":{"a": 1},"%b":[%b],"nextCursor":"n"}' % (member.encode(), item)
    nothing = gate().outbound("files", ALICE, asks(method), response(result))
    assert nothing is not None
    assert json.loads(nothing.result or b"") == {"_meta": {"a": 1}, member: [], "nextCursor": "n"}


@pytest.mark.parametrize(
    "item",
    [
        b'{"name":"write","name":"read"}',
        b'{"name":"read","name":"write"}',
        b'{"name": "read", "na\\u006de": "write"}',
        b'{"title":"read"}',
        b'{"name":7}',
        b'"read"',
        b"[]",
        b"null",
    ],
)
def test_an_item_without_one_clear_name_is_not_shown(item: bytes) -> None:
    shown = gate("*").outbound("files", ALICE, asks("tools/list"), response(b'{"tools":[%b]}' % item))
    assert shown is not None
    assert shown.result == b'{"tools":[]}'


@pytest.mark.parametrize(
    "result",
    [
        b'{"tools":[{"name":"write"}],"tools":[{"name":"read"}]}',
        b'{"tools":[{"name":"read"}],"Tools":[{"name":"write"}],"TOOLS":1}',
        '{"tools":[{"name":"read"}],"tool\u017f":[{"name":"write"}]}'.encode(),
    ],
)
def test_a_second_list_does_not_leave_beside_the_first(result: bytes) -> None:
    shown = gate("tool:read").outbound("files", ALICE, asks("tools/list"), response(result))
    assert shown is not None
    assert shown.result == b'{"tools":[{"name":"read"}]}'


@pytest.mark.parametrize("result", [b"{}", b'{"tools":{}}', b'{"tools":null}', b"[]", b"1", b'{"Tools":[]}'])
def test_a_list_of_another_form_becomes_an_error(result: bytes) -> None:
    shown = gate("*").outbound("files", ALICE, asks("tools/list"), response(result))
    assert shown is not None
    assert shown.kind is Kind.ERROR
    assert shown.id == b"1"
    assert json.loads(shown.error or b"")["code"] == -32603


def test_other_results_errors_and_requests_of_a_child_pass_as_they_are() -> None:
    passes = gate()
    for message in (
        response(b'{"content": [ ]}'),
        Message(Kind.ERROR, b"1", None, None, None, b'{"code":1,"message":"x"}'),
    ):
        assert passes.outbound("files", ALICE, asks("tools/call", name="a"), message) is message
    for message in (asks("sampling/createMessage"), notification("notifications/message", b'{"data":1}')):
        assert passes.outbound("files", ALICE, None, message) is message


@pytest.mark.parametrize(
    ("params", "shown"),
    [
        (b'{"uri":"a://b"}', True),
        (b'{"uri":"b://b"}', False),
        (b'{"uri":"b://b","uri":"a://b"}', False),
        (b'{"uri":"a://../b"}', False),
        (b"{}", False),
        (None, False),
    ],
)
def test_an_update_of_a_hidden_resource_is_dropped(params: bytes | None, shown: bool) -> None:
    message = notification("notifications/resources/updated", params)
    assert (gate("resource:a://**").outbound("files", ALICE, None, message) is message) == shown


names = st.text("abc_", min_size=1, max_size=4)


@given(st.lists(names, max_size=8), st.lists(names.map(lambda n: n + "*"), max_size=3))
def test_a_list_and_a_call_agree_on_what_is_exposed(tools: list[str], globs: list[str]) -> None:
    policy = gate(*globs)
    result = json.dumps({"tools": [{"name": name} for name in tools]}).encode()
    shown = policy.outbound("files", ALICE, asks("tools/list"), response(result))
    assert shown is not None
    listed = [tool["name"] for tool in json.loads(shown.result or b"")["tools"]]
    assert listed == [name for name in tools if allowed(policy, asks("tools/call", name=name))]


# -- what a user allowed ------------------------------------------------------------------------------


def limited(**values: object) -> Principal:
    return replace(ALICE, allowance=msgspec.convert(values, Allowance))


def may(who: Principal, message: Message, *entries: str, marked: tuple[str, ...] = ()) -> bool:
    return isinstance(gate(*entries or EVERYTHING).inbound("files", who, message, marked), Allowed)


EVERYTHING = ("*", "prompt:*", "resource:**", "method:*")


def test_only_the_chosen_tools_may_be_called() -> None:
    alice = limited(tools=["read"])
    assert may(alice, asks("tools/call", name="read"))
    assert not may(alice, asks("tools/call", name="drop"))
    assert not may(alice, asks("tools/call", name="read"), "tool:other")  # the site has the last word


@pytest.mark.parametrize(
    "message",
    [
        asks("prompts/get", name="p"),
        asks("resources/read", uri="a://b"),
        asks("resources/subscribe", uri="a://b"),
        asks("completion/complete", ref={"type": "ref/prompt", "name": "p"}),
        asks("vendor/unknown"),
    ],
)
def test_what_is_no_tool_is_allowed_as_a_whole(message: Message) -> None:
    assert may(limited(others=True), message)
    assert not may(limited(tools=["p"], later="all"), message)


@pytest.mark.parametrize("method", ["initialize", "ping", "tools/list", "prompts/list", "logging/setLevel"])
def test_the_protocol_itself_needs_no_grant(method: str) -> None:
    assert may(limited(), asks(method))


def test_read_only_tools_are_those_that_the_server_marks() -> None:
    alice = limited(later="read_only")
    assert may(alice, asks("tools/call", name="read"), marked=("read",))
    assert not may(alice, asks("tools/call", name="drop"), marked=("read",))
    assert not may(alice, asks("tools/call", name="read"))


def test_a_list_shows_what_may_be_used() -> None:
    listed = response(b'{"tools":[{"name":"read"},{"name":"drop"}],"nextCursor":"x"}')
    answer = gate("*").outbound("files", limited(tools=["read"]), asks("tools/list"), listed)
    assert answer is not None
    assert json.loads(answer.result or b"") == {"tools": [{"name": "read"}], "nextCursor": "x"}
    answer = gate("prompt:*").outbound(
        "files", limited(tools=["read"]), asks("prompts/list"), response(b'{"prompts":[{"name":"p"}]}')
    )
    assert answer is not None
    assert json.loads(answer.result or b"") == {"prompts": []}


def test_updates_of_resources_come_with_resources() -> None:
    update = notification("notifications/resources/updated", b'{"uri":"a://b"}')
    assert gate("resource:**").outbound("files", limited(others=True), None, update) is update
    assert gate("resource:**").outbound("files", limited(later="all"), None, update) is None


def test_a_caller_with_a_limited_grant_cannot_tell_what_else_there_is() -> None:
    alice = limited(tools=["read"])
    hidden = gate("tool:read", "tool:drop")
    verdicts = [hidden.inbound("files", alice, asks("tools/call", name=name)) for name in ("drop", "none")]
    assert verdicts[0] == verdicts[1]
    assert isinstance(verdicts[0], Denied)
    assert "connected applications" in verdicts[0].text


SUBSCRIBES = asks(
    "subscriptions/listen",
    notifications={"toolsListChanged": True, "resourceSubscriptions": ["a://1", "b://1", "a://2"]},
)


def test_a_subscription_goes_on_without_what_is_not_exposed() -> None:
    narrow = gate("resource:a://*")
    assert allowed(narrow, SUBSCRIBES)
    params = json.loads(narrow.narrowed("files", ALICE, SUBSCRIBES).params or b"")
    wanted = {"toolsListChanged": True, "resourceSubscriptions": ["a://1", "a://2"]}
    assert params["notifications"] == wanted
    for other in (asks("tools/call", name="a"), asks("subscriptions/listen"), asks("tools/list")):
        assert narrow.narrowed("files", ALICE, other) is other


@pytest.mark.parametrize("listed", ["a://1", 5, [5], {"a://1": 1}, None])
def test_a_subscription_to_what_is_no_list_of_uris_is_one_to_nothing(listed: object) -> None:
    message = asks("subscriptions/listen", notifications={"resourceSubscriptions": listed})
    params = json.loads(gate("resource:**").narrowed("files", ALICE, message).params or b"")
    assert params == {"notifications": {"resourceSubscriptions": []}}


def test_an_acknowledgement_names_nothing_that_is_not_exposed() -> None:
    note = notification("notifications/subscriptions/acknowledged", SUBSCRIBES.params)
    out = gate("resource:a://*").outbound("files", ALICE, None, note)
    assert out is not None
    notifications = json.loads(out.params or b"")["notifications"]
    assert notifications["resourceSubscriptions"] == ["a://1", "a://2"]


def test_it_is_known_which_methods_are_judged_by_more_than_their_name() -> None:
    assert all(knows(method) for method in (*OPEN, *LISTS, *USES, "completion/complete"))
    assert not knows("x/y")
    assert not knows(None)


def test_no_cache_may_keep_a_list_for_others() -> None:
    result = b'{"tools":[],"cacheScope":"public"}'
    answer = Message(Kind.RESPONSE, b"1", None, None, result, None)
    out = gate("*").outbound("files", ALICE, asks("tools/list"), answer)
    assert out is not None
    assert out.result == b'{"tools":[],"cacheScope":"private"}'


def test_who_may_use_some_tools_of_a_site_does_not_hear_what_any_server_of_it_logs() -> None:
    site = Gate({"": Expose.parse(["*"]), "files": Expose.parse(["*"])})
    some = replace(ALICE, allowance=Allowance(tools=("a__read",)))
    others = replace(ALICE, allowance=Allowance(tools=("a__read",), others=True))
    for said in ("notifications/message", "notifications/elicitation/complete"):
        message = notification(said, b'{"data":1}')
        assert site.outbound("", some, None, message) is None
        assert site.outbound("", others, None, message) is message
        assert site.outbound("", ALICE, None, message) is message
        assert site.outbound("files", some, None, message) is message


@pytest.mark.parametrize("method", ["notifications/anything", "x", "tools/call"])
def test_other_notifications_of_callers_pass_where_the_site_exposes_them(method: str) -> None:
    assert not allowed(gate(), notification(method, None))
    assert allowed(gate(f"method:{method}"), notification(method, None))
