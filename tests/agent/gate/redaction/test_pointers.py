"""JSON pointers: what they name, and which are none."""

from __future__ import annotations

import pytest

from penstock_agent.gate.redaction.pointers import BadPointer, Tree, parse


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("/customer/phone", ("customer", "phone")),
        ("/a~1b/m~0n", ("a/b", "m~n")),
        ("/~01", ("~1",)),
        ("/rows/*/x", ("rows", "*", "x")),
        ("/", ("",)),
        ("/0", ("0",)),
    ],
)
def test_a_pointer_has_steps(text: str, steps: tuple[str, ...]) -> None:
    assert parse(text) == steps


@pytest.mark.parametrize("text", ["", "customer", "#/customer", "/a~2", "/a~", "/" * 65, "/" + "x" * 1024])
def test_what_is_no_pointer_is_refused(text: str) -> None:
    with pytest.raises(BadPointer):
        parse(text)


def test_several_are_followed_at_once() -> None:
    tree = Tree.of([(("a", "b"), "one"), (("*", "b"), "two"), (("a",), "three"), (("c",), "four")])
    below = list(tree.step("a"))
    assert [node.values for node in below] == [["three"], []]
    assert [value for node in below for end in node.step("b") for value in end.values] == ["one", "two"]
    assert [node.values for node in tree.step("x")] == [[]]
    assert list(Tree.of([(("a",), 1)]).step("b")) == []
