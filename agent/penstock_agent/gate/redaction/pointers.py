"""Where a field is: JSON pointers (RFC 6901), in which ``*`` stands for any member or item.

A member that is called ``*`` cannot be named apart from the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

ANY: Final = "*"
MAX_POINTER: Final = 1024
MAX_STEPS: Final = 64

V = TypeVar("V")


class BadPointer(ValueError):
    """Not a pointer to a field; the text says how to write one."""


def parse(text: str) -> tuple[str, ...]:
    """The steps of a pointer. Raises :exc:`BadPointer`."""
    if len(text) > MAX_POINTER:
        raise BadPointer(f"is longer than {MAX_POINTER} characters")
    if not text.startswith("/"):
        raise BadPointer("is no JSON pointer: write /customer/phone, or /customers/*/phone for all of a list")
    steps = text[1:].split("/")
    if len(steps) > MAX_STEPS:
        raise BadPointer(f"has more than {MAX_STEPS} steps")
    for step in steps:
        if "~" in step.replace("~0", "").replace("~1", ""):
            raise BadPointer('has a "~" that is neither ~0 (for "~") nor ~1 (for "/")')
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in steps)


@dataclass(slots=True)
class Tree(Generic[V]):
    """Several pointers at once. ``values``: those of the pointers that end here."""

    values: list[V] = field(default_factory=list)
    below: dict[str, Tree[V]] = field(default_factory=dict)

    @classmethod
    def of(cls, pointers: Iterable[tuple[tuple[str, ...], V]]) -> Tree[V]:
        root: Tree[V] = cls()
        for steps, value in pointers:
            at = root
            for step in steps:
                at = at.below.setdefault(step, cls())
            at.values.append(value)
        return root

    def step(self, name: str) -> Iterator[Tree[V]]:
        """What of it is left below a member, or an item by its number."""
        for key in (name, ANY) if name != ANY else (ANY,):
            if (found := self.below.get(key)) is not None:
                yield found
