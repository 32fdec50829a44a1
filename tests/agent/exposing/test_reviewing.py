"""What waits for approval, as it is shown."""

from __future__ import annotations

import json

import pytest

from penstock_agent.exposing import reviewing
from penstock_agent.exposing.reviewing import Review, chosen, review
from penstock_agent.gate import pins
from penstock_agent.gate.expose import Item
from penstock_agent.gate.overrides import Override
from penstock_agent.gate.pins import INSTRUCTIONS, Pinned
from penstock_agent.problem import Problem


def raw(name: str, description: str = "Does something.") -> bytes:
    return json.dumps({"name": name, "description": description}).encode()


def kept(**found: bytes) -> Pinned:
    """``read`` is approved; this is found."""
    first = pins.first({"tool:read": raw("read")}, "be nice", 1.0, 7)
    return pins.compared(first, {f"tool:{name}": one for name, one in found.items()}, "be nice", 2.0)


def looked(*, exposed: str = "", **servers: Pinned) -> Review:
    def shows(server: str, item: Item, name: str) -> bool:
        return not exposed or name == exposed

    return review("files", servers, shows, {"files": {"read": Override(title="ours")}})


def test_each_change_says_why_it_waits_and_what_looks_like_a_trick() -> None:
    found = looked(files=kept(read=raw("read", "Pays.\u202e"), pay=raw("pay")), crm=kept(pay=raw("pay")))
    first, second = sorted(found.changes, key=lambda one: one.key, reverse=True)
    assert (first.key, first.why, first.before, first.exposed) == (
        "tool:read", "changed", raw("read").decode(), True,
    )  # fmt: skip
    assert "characters that do not show: U+202E" in first.findings[0]
    assert (second.key, second.why, second.before) == ("tool:pay", "new", None)
    assert any("A tool of crm has this name" in text for text in second.findings)
    assert (found.version, found.by_uid, found.approved_at) == (kept().approved.version, 7, 1.0)


def test_what_callers_would_see_comes_first() -> None:
    found = looked(exposed="pay", files=kept(read=raw("read", "x"), other=raw("other"), pay=raw("pay")))
    assert [(one.key, one.exposed) for one in found.changes] == [
        ("tool:pay", True), ("tool:read", False), ("tool:other", False),
    ]  # fmt: skip


def test_instructions_are_shown_as_json_like_everything_else() -> None:
    first = pins.first({}, "be nice", 1.0)
    found = looked(files=pins.compared(first, {}, "be \u200bevil", 2.0))
    (one,) = found.changes
    assert (one.key, one.before, one.after) == (INSTRUCTIONS, '"be nice"', '"be \u200bevil"')
    assert "instructions hold characters that do not show" in one.findings[0]


def test_a_definition_that_is_none_of_mcp_is_shown_all_the_same() -> None:
    found = looked(files=kept(read=b'{"name":5}'))
    assert [one.after for one in found.changes] == ['{"name":5}']


def test_a_review_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reviewing, "MOST_BYTES", 100)
    found = looked(files=kept(**{f"t{n}": raw(f"t{n}") for n in range(9)}))
    assert len(found.changes) + found.more == 9
    assert found.more > 0


def test_items_are_named_as_people_name_them() -> None:
    found = looked(files=kept(read=raw("read", "x"), pay=raw("pay")))
    digests = {one.key: one.digest for one in found.changes}
    assert chosen(found, []) == digests
    assert chosen(found, ["pay"]) == {"tool:pay": digests["tool:pay"]}
    assert chosen(found, ["tool:read", "pay"]) == digests
    with pytest.raises(Problem, match=r"prompt:x of files does not wait .* Waiting: tool:"):
        chosen(found, ["prompt:x"])
