"""Messages on their way out: what of them leaves, and what was found."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.envelope import Kind, Message, dump, notification, parse_caller, parse_child, request
from penstock_agent.gate.redaction import outgoing, scan
from penstock_agent.gate.redaction.detectors import DETECTORS, mask
from penstock_agent.gate.redaction.outgoing import UNREAD, Outcome, redacted
from penstock_agent.gate.redaction.rules import Action, Rules
from penstock_agent.gate.redaction.settings import RedactSettings, rules

CARD, MAIL, IBAN = "4111 1111 1111 1111", "bob@example.com", "DE89 3704 0044 0532 0130 00"
KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEF\n-----END PRIVATE KEY-----"
TOKEN = "gh" + "p_" + "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF3hI6"
VALUES = {"card": CARD, "email": MAIL, "iban": IBAN, "private_key": KEY, "token": TOKEN}


def made(*tables: dict[str, object]) -> Rules:
    found = rules(tuple(RedactSettings.model_validate(table) for table in tables))
    assert found is not None
    return found


ALL = made({"find": list(DETECTORS)})


def call(tool: str = "read") -> Message:
    params = {"name": tool, "arguments": {}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return parse_caller(json.dumps(body).encode())


def answered(result: object, redactor: Rules = ALL, asked: Message | None = None) -> Outcome | None:
    raw = result if isinstance(result, bytes) else json.dumps(result).encode()
    message = parse_child(b'{"jsonrpc":"2.0","id":1,"result":%b}' % raw)
    return redacted(redactor, asked or call(), message)


def left(result: object, redactor: Rules = ALL) -> tuple[str, dict[str, int]]:
    """The result as it leaves, and what was found."""
    outcome = answered(result, redactor)
    assert outcome is not None
    assert outcome.message is not None
    assert outcome.message.result is not None
    parse_child(dump(outcome.message))
    json.loads(outcome.message.result)
    return outcome.message.result.decode(), dict(outcome.found)


@pytest.mark.parametrize("name", VALUES)
def test_what_is_found_is_taken_out_wherever_it_stands(name: str) -> None:
    value, hidden = VALUES[name], mask(name)
    inner = json.dumps({"deep": [value]})
    for result in (
        {"content": [{"type": "text", "text": f"a {value} b"}]},
        {"content": [{"type": "text", "text": inner}]},
        {"content": [{"type": "resource", "resource": {"uri": "x:y", "text": value}}]},
        {"contents": [{"uri": "x:y", "text": value}]},
        {"messages": [{"role": "user", "content": {"type": "text", "text": value}}]},
        {"structuredContent": {"rows": [{"x": value}]}},
        {"structuredContent": {value: 1}},
        {"_meta": {"own": value}},
    ):
        text, found = left(result)
        # In text that holds JSON and in names, as anywhere.
        assert value not in text.replace("\\\\n", "\n").replace("\\n", "\n")
        assert hidden in text
        assert found == {name: 1}, result


def test_in_base64_it_is_taken_out_as_well() -> None:
    blob = base64.b64encode(f"mail {MAIL}, ä".encode()).decode()
    text, found = left({"contents": [{"uri": "x:y", "mimeType": "text/plain", "blob": blob}]})
    (item,) = json.loads(text)["contents"]
    assert base64.b64decode(item["blob"]).decode() == f"mail {mask('email')}, ä"
    assert found == {"email": 1}


def test_only_the_strings_that_change_are_written_anew() -> None:
    raw = (
        b'{ "content" :[{"text":"\\u0041 %b","type":"text"},\n'
        b'{"n":1.00,"e":1e5,"t":"\\u0041\\/"}],"content":[]}'
    )
    result, found = left(raw % b"bob\\u0040example.com")
    assert result.encode() == raw.replace(b"\\u0041 %b", b"A [e-mail address removed on site]")
    assert found == {"email": 1}


def test_a_number_that_is_a_card_becomes_words() -> None:
    text, found = left(b'{"structuredContent":{"pan":4111111111111111,"n":4111111111111112,"x":1.50}}')
    assert (
        text == '{"structuredContent":{"pan":"[card number removed on site]","n":4111111111111112,"x":1.50}}'
    )
    assert found == {"card": 1}


def test_names_of_members_stay_different() -> None:
    text, found = left({"structuredContent": {"a@b.com": 1, "c@d.com": 2}})
    assert text.count("[e-mail address removed on site") == 2
    assert len(json.loads(text)["structuredContent"]) == 2
    assert found == {"email": 2}


def test_a_secret_is_known_by_the_name_of_its_member() -> None:
    secret = "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY"
    for shape in ({"SecretAccessKey": secret}, [{"x": {"secret_access_key": secret}}]):
        assert left({"structuredContent": shape})[1] == {"token": 1}
    assert answered({"structuredContent": {"digest": secret}}) is None


def items(*texts: str) -> dict[str, object]:
    return {"content": [{"type": "text", "text": text} for text in texts]}


@pytest.mark.parametrize("name", VALUES)
def test_what_is_cut_over_two_items_is_found(name: str) -> None:
    value = VALUES[name]
    for at in (len(value) // 2, len(value) // 2 + 1):
        text, found = left(items("see " + value[:at], value[at:] + " there"))
        first, second = (item["text"] for item in json.loads(text)["content"])
        assert first.startswith("see ")
        assert second.endswith(" there")
        assert value[:at] not in first
        assert value[at:] not in second
        assert found == {name: 1}


def test_a_key_in_lines_is_found() -> None:
    text, found = left({"structuredContent": {"lines": ["before", *KEY.splitlines(), "after"]}})
    assert json.loads(text)["structuredContent"]["lines"] == ["before", mask("private_key"), "", "", "after"]
    assert found == {"private_key": 1}
    text, found = left(items(*KEY.splitlines()))
    assert "MII" not in text
    assert found == {"private_key": 1}


def test_words_beside_a_value_are_not_taken_for_its_part() -> None:
    text, found = left(items("see", MAIL))
    assert [item["text"] for item in json.loads(text)["content"]] == ["see", mask("email")]
    assert found == {"email": 1}
    assert answered(items("4111 1111", "and", "1111 1111")) is None


def test_what_stood_beside_something_else_is_found_when_that_is_gone() -> None:
    text, found = left(items(f"{MAIL}4111111111111111"))
    assert json.loads(text)["content"][0]["text"] == mask("email") + mask("card")
    assert found == {"email": 1, "card": 1}


def test_a_key_in_the_name_of_a_member_and_in_its_value_is_taken_out_of_both() -> None:
    begin, body, end = KEY.splitlines()
    text, _ = left({"structuredContent": {f"{begin}\n{body}": f"{body}\n{end}", "x": [f"{body}\n{end}"]}})
    assert "MII" not in text


FIELDS = made({"fields": ["/customer/phone", "/rows/*/pin"], "patterns": {"employee": r"EMP-\d+"}})


def test_fields_and_patterns_are_taken_out_of_structured_content_and_of_text_that_is_json() -> None:
    data = {"customer": {"phone": [1, 2]}, "rows": [{"pin": 1, "by": "EMP-12"}, {"pin": None}]}
    text, found = left(
        {"content": [{"type": "text", "text": json.dumps(data)}], "structuredContent": data}, FIELDS
    )
    hidden = {
        "customer": {"phone": "[removed on site]"},
        "rows": [{"pin": "[removed on site]", "by": mask("employee")}, {"pin": "[removed on site]"}],
    }
    assert json.loads(text) == {
        "content": [{"type": "text", "text": json.dumps(hidden)}],
        "structuredContent": hidden,
    }
    assert found == {"field": 6, "employee": 2}


def test_a_pattern_sees_numbers_and_a_whole_text_that_is_json() -> None:
    own = made({"patterns": {"pin": r'"pin": (\d{4})', "year": r"^20\d\d$"}})
    text, found = left({"text": '{"pin": 1234}', "n": 2026, "m": 12026}, own)
    assert json.loads(text) == {
        "text": '{"pin": [pin removed on site]}',
        "n": "[year removed on site]",
        "m": 12026,
    }
    assert found == {"pin": 1, "year": 1}


def test_what_describes_is_left_alone_and_nothing_else() -> None:
    result = {"tools": [{"name": "x", "description": MAIL}]}
    for method in ("tools/list", "prompts/list", "resources/list", "initialize", "server/discover"):
        assert answered(result, asked=request(b"1", method, b"{}")) is None
    assert answered(result, asked=request(b"1", "tasks/list", b"{}")) is not None


def test_what_a_server_says_by_itself_is_looked_at() -> None:
    for method, params in (
        ("notifications/progress", {"progressToken": MAIL, "progress": 1, "message": f"mailing {MAIL}"}),
        ("notifications/message", {"level": "info", "data": {"to": [MAIL]}}),
        ("elicitation/create", {"message": f"Is {MAIL} right?", "requestedSchema": {}}),
        ("sampling/createMessage", {"messages": [{"content": {"type": "text", "text": MAIL}}]}),
    ):
        message = notification(method, json.dumps(params).encode())
        if "/create" in method:
            message = request(b"7", method, message.params)
        outcome = redacted(ALL, None, message)
        assert outcome is not None
        assert outcome.message is not None
        assert outcome.message.params is not None
        assert (outcome.message.id, outcome.message.method) == (message.id, method)
        assert outcome.message.params.count(MAIL.encode()) == (method == "notifications/progress")
        assert outcome.item == ""


def test_an_error_is_looked_at() -> None:
    message = parse_child(
        b'{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no mail to bob@example.com"}}'
    )
    for asked in (call(), request(b"1", "tools/list", b"{}")):
        outcome = redacted(ALL, asked, message)
        assert outcome is not None
        assert outcome.message is not None
        assert outcome.message.kind is Kind.ERROR
        assert outcome.message.error == b'{"code":-1,"message":"no mail to [e-mail address removed on site]"}'


def test_a_message_without_anything_in_it_leaves() -> None:
    assert redacted(ALL, None, notification("notifications/tools/list_changed", None)) is None
    assert answered({"content": []}) is None


def test_rules_of_other_items_do_not_count() -> None:
    own = made({"find": ["email"], "tools": ["mail_*"]}, {"find": ["card"], "tools": ["resource:x:*"]})
    assert answered({"text": MAIL}, own, call("read")) is None
    outcome = answered({"text": f"{MAIL} {CARD}"}, own, call("mail_list"))
    assert outcome is not None
    assert (outcome.found, outcome.item) == ({"email": 1}, "tool:mail_list")
    read = request(b"1", "resources/read", b'{"uri":"x:1"}')
    outcome = answered({"text": f"{MAIL} {CARD}"}, own, read)
    assert outcome is not None
    assert (outcome.found, outcome.item) == ({"card": 1}, "resource:x:1")
    complete = request(b"1", "completion/complete", b'{"ref":{"type":"ref/resource","uri":"x:1"}}')
    assert answered({"text": MAIL}, own, complete) is None


@pytest.mark.parametrize(
    ("action", "words"), [("block", "The request has run"), ("ask", "somebody on site has to approve")]
)
def test_a_rule_can_let_nothing_of_the_answer_out(action: str, words: str) -> None:
    own = made({"find": ["email"]}, {"find": ["card"], "action": action})
    outcome = answered({"text": f"{MAIL} {CARD}"}, own)
    assert outcome is not None
    assert outcome.message is None
    assert outcome.action == action
    assert outcome.found == {"email": 1, "card": 1}
    assert "(card number)" in outcome.text
    assert words in outcome.text
    assert answered({"text": "nothing"}, own) is None
    assert left({"text": MAIL}, own)[1] == {"email": 1}


def test_a_field_can_do_so_too() -> None:
    own = made({"fields": ["/a"], "action": "block"}, {"fields": ["/b"]})
    outcome = answered({"structuredContent": {"a": 1}}, own)
    assert outcome is not None
    assert outcome.message is None
    assert "a field of the site's list" in outcome.text
    assert left({"structuredContent": {"b": 1}}, own)[1] == {"field": 1}


def test_what_may_leave_after_a_look_is_without_what_is_taken_out_anyway() -> None:
    rules = made(
        {"find": ["card"], "fields": ["/a", "/b"], "action": "ask"},
        {"find": ["email", "card"], "fields": ["/b", "/c"]},
    )
    result = {"structuredContent": {"a": 1, "b": 2, "c": 3}, "text": f"{MAIL} {CARD}"}
    outcome = answered(result, rules)
    assert outcome is not None
    assert (outcome.action, outcome.message) == (Action.ASK, None)
    assert outcome.kept is not None
    assert json.loads(outcome.kept.result or b"") == {
        "structuredContent": {"a": 1, "b": 2, "c": "[removed on site]"},
        "text": f"{mask('email')} {CARD}",
    }
    only = answered({"text": CARD}, rules)
    assert only is not None
    assert only.kept is not None
    assert json.loads(only.kept.result or b"") == {"text": CARD}
    blocking = answered({"text": CARD}, made({"find": ["card"], "action": "block"}))
    assert blocking is not None
    assert blocking.kept is None


def test_what_is_too_much_to_look_through_does_not_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "MAX_TEXT", 100)
    monkeypatch.setattr(scan, "MAX_FOUND", 2)
    for result in ({"text": "x" * 100}, {"text": f"{MAIL} " * 3}):
        outcome = answered(result)
        assert outcome is not None
        assert outcome.message is None
        assert (outcome.action, outcome.found) == (Action.BLOCK, {UNREAD: 1})
        assert "Ask for less at once" in outcome.text
        asking = answered(result, made({"find": ["email"], "action": "ask"}))
        assert asking is not None
        assert asking.action is Action.ASK
        assert asking.kept is not None
        assert asking.kept.result == json.dumps(result).encode()
    picture = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"x" * 200).decode()
    assert answered({"type": "image", "data": picture, "mimeType": "image/png"}) is None


def test_no_value_is_in_what_is_shown_of_an_outcome() -> None:
    outcome = answered({"text": f"{MAIL} {CARD} {TOKEN}"})
    assert all(value not in repr(outcome) for value in (MAIL, CARD, TOKEN))


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\1")).filter(
    lambda text: not any(one.find(text) for one in DETECTORS.values())
)
lines = st.lists(words | st.sampled_from(sorted(VALUES)), max_size=8)
results = st.recursive(
    lines.map(lambda parts: ("leaf", parts)),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda found: ("list", found))
        | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3).map(lambda found: ("object", found))
    ),
    max_leaves=8,
)


def _build(shape: object, values: dict[str, str]) -> object:
    kind, inside = shape  # type: ignore[misc]  # what ``results`` makes
    if kind == "leaf":  # type: ignore[has-type]
        return "\n".join(f"| {values.get(part, part)} |" for part in inside)  # type: ignore[has-type]
    if kind == "list":  # type: ignore[has-type]
        return [_build(one, values) for one in inside]  # type: ignore[has-type]
    return {name: _build(one, values) for name, one in inside.items()}  # type: ignore[has-type]


@given(shape=results, ascii=st.booleans(), nested=st.booleans())
def test_every_value_goes_and_all_else_stays(shape: object, ascii: bool, nested: bool) -> None:
    def wrapped(values: dict[str, str]) -> dict[str, object]:
        built = _build(shape, values)
        text = json.dumps(built, ensure_ascii=ascii)
        return {"content": [{"type": "text", "text": text}]} if nested else {"structuredContent": built}

    before, after = wrapped(VALUES), wrapped({name: mask(name) for name in VALUES})
    outcome = answered(json.dumps(before, ensure_ascii=ascii).encode())
    if outcome is None:
        assert before == after
        return
    assert outcome.message is not None
    result = json.loads(outcome.message.result or b"")
    if nested:
        result = json.loads(result["content"][0]["text"])
        after = _build(shape, {name: mask(name) for name in VALUES})  # type: ignore[assignment]
    assert result == after
    assert answered(outcome.message.result) is None
    text = json.dumps(after, ensure_ascii=False)
    assert dict(outcome.found) == {name: n for name in VALUES if (n := text.count(mask(name)))}


@given(text=st.text('ab@.41 1-\n"\\{}[]:,EMP'), split=st.integers(0, 20))
def test_whatever_was_found_is_not_found_again(text: str, split: int) -> None:
    result = items(text[:split], text[split:], CARD + text, text + MAIL)
    outcome = answered(result)
    assert outcome is not None
    assert outcome.message is not None
    again = answered(outcome.message.result)
    assert again is None, outcome.message.result


def test_the_words_for_too_much_name_the_bounds() -> None:
    assert "4 MiB" in outgoing._TOO_MUCH


def test_what_cannot_be_looked_through_is_not_kept_where_a_part_would_have_to_be_masked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scan, "MAX_FOUND", 2)
    asks: dict[str, object] = {"find": ["card"], "action": "ask"}
    message = Message(
        Kind.RESPONSE, b"1", None, None, b'{"text":"%b"}' % (b"4111 1111 1111 1111 , " * 3), None
    )
    for tables, kept in (((asks,), True), ((asks, {"find": ["email"]}), False)):
        outcome = redacted(made(*tables), None, message)
        assert outcome is not None
        assert (outcome.action, outcome.message, outcome.kept is not None) == (Action.ASK, None, kept)
