"""Pins: any change of a definition is noticed, and nothing else is."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock_agent.gate import pins
from penstock_agent.gate.expose import Item
from penstock_agent.gate.pins import INSTRUCTIONS, Digests, Outdated, Pinned

# Tools of published servers, with their origin.
SERVERS = json.loads((Path(__file__).parents[2] / "data" / "tools.json").read_text())["servers"]
TOOLS = [(server["origin"], tool) for server in SERVERS for tool in server["tools"]]


def dumped(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every JSON pointer in it but that of the whole."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in inside:
        yield (*path, name)
        yield from places(inner, (*path, name))


def changed(value: object) -> object:
    """Another value of the same type, as little different as can be."""
    match value:
        case bool():
            return not value
        case str():
            return value + "\u200b"  # nothing that a person would see
        case int() | float():
            return value + 1
        case None:
            return 0
        case list():
            return [*value, "x"]
        case _:
            return {**value, "x": "x"} if isinstance(value, dict) else 0


def mutations(tool: object) -> Iterator[tuple[str, object]]:
    """What somebody could change: each value, each member taken away, one added beside each."""
    for path in places(tool):
        for what in ("changed", "removed", "added"):
            other = copy.deepcopy(tool)
            parent = other
            for name in path[:-1]:
                parent = parent[name]  # type: ignore[index]  # as ``places`` says
            last = path[-1]
            assert isinstance(parent, dict | list)
            if what == "changed":
                parent[last] = changed(parent[last])  # type: ignore[index]
            elif what == "removed":
                del parent[last]  # type: ignore[arg-type]
            elif isinstance(parent, list):
                parent.insert(int(last), parent[int(last)])
            else:
                parent[f"{last}X"] = parent[last]
            yield f"{what} {path}", other


def test_there_are_fifty_real_tools_or_more() -> None:
    assert len(TOOLS) >= 50
    assert len({origin for origin, _ in TOOLS}) >= 5


@pytest.mark.parametrize(("origin", "tool"), TOOLS, ids=[tool["name"] for _, tool in TOOLS])
def test_every_change_at_every_place_of_a_real_tool_is_noticed(origin: str, tool: object) -> None:
    digest, seen = pins.digest(dumped(tool)), 0
    for what, other in mutations(tool):
        assert pins.digest(dumped(other)) != digest, f"{origin}: {what}"
        seen += 1
    assert seen >= 10


@pytest.mark.parametrize(("origin", "tool"), TOOLS, ids=[tool["name"] for _, tool in TOOLS])
def test_order_blanks_and_escapes_are_no_change(origin: str, tool: dict[str, object]) -> None:
    def turned(value: object) -> object:
        if isinstance(value, dict):
            return {name: turned(value[name]) for name in reversed(value)}
        return [turned(one) for one in value] if isinstance(value, list) else value

    digest = pins.digest(dumped(tool))
    assert pins.digest(json.dumps(turned(tool), indent=3, ensure_ascii=False).encode()) == digest, origin
    escaped = "".join(f"\\u{ord(c):04x}" for c in str(tool["name"]))
    text = json.dumps(tool).replace(json.dumps(tool["name"]), f'"{escaped}"')
    assert pins.digest(text.encode()) == digest, origin


def test_a_definition_that_parsers_read_differently_equals_none() -> None:
    twice = b'{"name":"a","description":"x","description":"y"}'
    assert not pins.readable(pins.digest(twice))
    pinned = pins.first({"tool:a": twice, "tool:b": b'{"name":"b"}'}, "", 1.0)
    assert list(pinned.approved.items) == ["tool:b"]
    waiting = pins.compared(pinned, {"tool:a": twice}, "", 2.0)
    with pytest.raises(Outdated):
        pins.approve(waiting, {"tool:a": waiting.waiting["tool:a"].digest}, 3.0, 0)


def test_numbers_are_what_is_written() -> None:
    assert pins.digest(b'{"maximum":1}') != pins.digest(b'{"maximum":1.0}')


def a_pinned() -> Pinned:
    return pins.first({"tool:a": b'{"name":"a"}', "tool:b": b'{"name":"b"}'}, "be nice", 1.0, 7)


def test_what_waits_is_what_differs_and_keeps_since_when() -> None:
    found = {"tool:a": b'{"name":"a","x":1}', "tool:c": b'{"name":"c"}'}
    seen = pins.compared(a_pinned(), found, "be evil", 2.0)
    assert {key: one.since for key, one in seen.waiting.items()} == {
        "tool:a": 2.0, "tool:c": 2.0, INSTRUCTIONS: 2.0,
    }  # fmt: skip
    again = pins.compared(seen, {"tool:a": b'{"name":"a","x":2}'}, "be nice", 3.0)
    assert {key: one.since for key, one in again.waiting.items()} == {"tool:a": 2.0}


def test_one_of_two_is_approved_and_the_other_waits() -> None:
    found = {"tool:a": b'{"name":"a","x":1}', "tool:c": b'{"name":"c"}'}
    seen = pins.compared(a_pinned(), found, "be evil", 2.0)
    wanted = {"tool:a": seen.waiting["tool:a"].digest}
    after = pins.approve(seen, wanted, 3.0, 9)
    assert set(after.waiting) == {"tool:c", INSTRUCTIONS}
    assert after.approved.items["tool:a"].changed == 3.0
    assert (after.approved.at, after.approved.by_uid) == (3.0, 9)
    assert after.approved.version != seen.approved.version == a_pinned().approved.version
    rest = {key: one.digest for key, one in after.waiting.items()}
    last = pins.approve(after, rest, 4.0, 9)
    assert (last.approved.instructions, last.waiting) == ("be evil", {})
    assert last.approved.items["tool:c"].changed == 0.0  # new, not changed


def test_what_has_changed_once_more_is_not_approved_unseen() -> None:
    seen = pins.compared(a_pinned(), {"tool:a": b'{"name":"a","x":1}'}, "be nice", 2.0)
    shown = {"tool:a": seen.waiting["tool:a"].digest}
    other = pins.compared(seen, {"tool:a": b'{"name":"a","x":2}'}, "be nice", 3.0)
    with pytest.raises(Outdated):
        pins.approve(other, shown, 4.0, 0)


def test_keys_name_items() -> None:
    for item, name, key in (
        (Item.TOOL, "a:b", "tool:a:b"),
        (Item.PROMPT, "p", "prompt:p"),
        (Item.RESOURCE, "file:///{x}", "template:file:///{x}"),
    ):
        assert pins.key(item, name) == key
        assert pins.item_of(key) == (item, name)
    assert pins.item_of(INSTRUCTIONS) is None


def test_the_same_bytes_are_looked_at_once() -> None:
    digests = Digests()
    raw = b'{"name":"a"}'
    assert digests.of(raw) is digests.of(bytes(bytearray(raw)))
    assert digests.of(raw) == pins.digest(raw)


def test_no_more_waits_than_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins, "MOST_WAITING", 3)
    found = {f"tool:{n}": b"{}" for n in range(9)}
    assert len(pins.compared(a_pinned(), found, "be nice", 2.0).waiting) == 3
