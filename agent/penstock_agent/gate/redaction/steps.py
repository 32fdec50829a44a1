"""Long work in steps, so that other work has its turn in between. Pure: who runs it knows the time."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Final, TypeAlias, TypeVar

T = TypeVar("T")

Steps: TypeAlias = Generator[None, None, T]
"""Yields after each step, of some milliseconds at most; returns what it was for."""

AT_ONCE: Final = 4096
"""Small things that are done in one step."""
SMALL: Final = 1 << 11
"""Characters with which all is done in one step."""


class TooMuch(Exception):
    """There is more to do than anybody does for one message."""


def finish(steps: Steps[T]) -> T:
    """All of them, one after another."""
    while True:
        try:
            while True:
                next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def portions(many: Sequence[T]) -> Iterable[Sequence[T]]:
    """All of them in order, as many at a time as make one step."""
    if len(many) <= AT_ONCE:
        return (many,)
    return (many[at : at + AT_ONCE] for at in range(0, len(many), AT_ONCE))


def let_go(many: list[T]) -> Steps[None]:
    """Forget what is in a list; to forget a million things takes a while too."""
    while len(many) > AT_ONCE:
        del many[-AT_ONCE:]
        yield
    many.clear()
