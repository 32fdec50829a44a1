"""What a rule wants of the arguments of a call: read from the very bytes that go on to the server.

An argument is named by its place: ``path``, ``options.path``, or a JSON pointer (``/options/path``) where a
name holds a dot. ``*`` stands for every element of an array, and every member of an object. Two keys that a
lenient server may take for one make the argument unknown, and what is unknown fits no rule.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from math import isinf
from typing import Final, Protocol

from penstock.lookalike import fold
from penstock_agent.gate.policy import paths
from penstock_agent.gate.regex import Expression

MAX_NUMBER: Final = 400
"""Characters of a number; a longer one is no number that a rule could compare."""
EACH: Final = "*"


class BadArguments(ValueError):
    """Not an object of JSON."""


class Number(str):
    """A number, as it was written."""

    __slots__ = ()

    @property
    def value(self) -> Decimal | None:
        """None for one that not every server can hold: it would not read what was compared here."""
        if len(self) > MAX_NUMBER or isinf(float(self)):
            return None
        try:
            return Decimal(self)
        except InvalidOperation:
            return None


Scalar = str | bool | Decimal


def _no_constant(name: str) -> object:
    raise BadArguments


_decode = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=_no_constant).decode


def parse(raw: bytes | None) -> Mapping[str, object]:
    """The arguments of a call; those that are absent are none. Raises :exc:`BadArguments`."""
    if raw is None:
        return {}
    try:
        found: object = _decode(raw.decode())
    except (ValueError, RecursionError):
        raise BadArguments from None
    if not isinstance(found, dict):
        raise BadArguments
    return found


class Test(Protocol):
    """One thing that an argument has to be. ``words`` follow "must"."""

    @property
    def words(self) -> str: ...

    def holds(self, value: object) -> bool: ...


def scalar(value: object) -> Scalar | None:
    """To be compared; None for what is no scalar, for null, and for a number that no rule could compare."""
    if isinstance(value, Number):
        return value.value
    return value if isinstance(value, str | bool) else None


@dataclass(frozen=True, slots=True)
class OneOf:
    """Equal in type and value: 1 is 1.0, but neither "1" nor true."""

    allowed: tuple[Scalar, ...]

    @property
    def words(self) -> str:
        shown = [_shown(each) for each in self.allowed]
        return f"be {shown[0]}" if len(shown) == 1 else f"be one of {', '.join(shown)}"

    def holds(self, value: object) -> bool:
        found = scalar(value)
        return found is not None and any(
            isinstance(found, bool) is isinstance(each, bool)
            and isinstance(found, str) is isinstance(each, str)
            and found == each
            for each in self.allowed
        )


@dataclass(frozen=True, slots=True)
class Prefix:
    """A text that begins so."""

    prefixes: tuple[str, ...]

    @property
    def words(self) -> str:
        return f"begin with {' or '.join(map(_shown, self.prefixes))}"

    def holds(self, value: object) -> bool:
        return isinstance(value, str) and not isinstance(value, Number) and value.startswith(self.prefixes)


@dataclass(frozen=True, slots=True)
class Below:
    """A path in one of these folders (:func:`paths.folder`)."""

    folders: tuple[str, ...]

    @property
    def words(self) -> str:
        shown = " or ".join(f"{each}/" for each in self.folders)
        return f"be a plain absolute path below {shown} (no .. and nothing encoded)"

    def holds(self, value: object) -> bool:
        if not isinstance(value, str) or isinstance(value, Number):
            return False
        return any([paths.below(value, each) for each in self.folders])


@dataclass(frozen=True, slots=True)
class Range:
    """A number, both ends included."""

    low: Decimal | None = None
    high: Decimal | None = None

    @property
    def words(self) -> str:
        low = [] if self.low is None else [f"{self.low} at least"]
        high = [] if self.high is None else [f"{self.high} at most"]
        return f"be a number, {' and '.join(low + high)}"

    def holds(self, value: object) -> bool:
        found = value.value if isinstance(value, Number) else None
        if found is None:
            return False
        return (self.low is None or self.low <= found) and (self.high is None or found <= self.high)


@dataclass(frozen=True, slots=True)
class Matches:
    """A text that is of this form as a whole."""

    expression: Expression

    @property
    def words(self) -> str:
        return f"match {self.expression.source}"

    def holds(self, value: object) -> bool:
        return isinstance(value, str) and not isinstance(value, Number) and self.expression.matches(value)


@dataclass(frozen=True, slots=True)
class MaxLength:
    """Characters of a text, or elements of an array."""

    most: int

    @property
    def words(self) -> str:
        return f"have {self.most} characters or elements at most"

    def holds(self, value: object) -> bool:
        return isinstance(value, str | list) and not isinstance(value, Number) and len(value) <= self.most


@dataclass(frozen=True, slots=True)
class OfType:
    """``string``, ``number``, ``integer``, ``boolean``, ``array``, ``object`` or ``null``."""

    type: str

    @property
    def words(self) -> str:
        return f"be of type {self.type}"

    def holds(self, value: object) -> bool:
        return self.type in _types(value)


def _types(value: object) -> tuple[str, ...]:
    if isinstance(value, Number):
        found = value.value
        if found is None:
            return ()
        return ("number", "integer") if found == found.to_integral_value() else ("number",)
    if isinstance(value, bool):
        return ("boolean",)
    names = {str: "string", list: "array", dict: "object", type(None): "null"}
    return (names[type(value)],)


_MISSING: Final = object()
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}")


class _Unclear(Exception):
    """What stands there depends on who reads it."""


@dataclass(frozen=True, slots=True)
class Condition:
    """All ``tests`` have to hold of what stands ``at`` this place."""

    shown: str
    """The place, as the operator wrote it."""
    at: tuple[str, ...]
    tests: tuple[Test, ...]
    optional: bool = False

    def holds(self, arguments: Mapping[str, object]) -> bool:
        name = self.at[0]
        if len(self.at) == 1 and name != EACH:  # as most are, and much faster
            value = arguments.get(name, _MISSING)
            if len(arguments) > 1 or value is _MISSING:
                folded = fold(name)
                for key in arguments:
                    if key != name and fold(key) == folded:
                        return False
            if value is _MISSING:
                return self.optional
            return all([test.holds(value) for test in self.tests])
        try:
            for value in _find(arguments, self.at):
                if value is _MISSING:
                    if not self.optional:
                        return False
                elif not all(test.holds(value) for test in self.tests):
                    return False
        except _Unclear:
            return False
        return True

    @property
    def words(self) -> str:
        """What is wanted."""
        wanted = " and ".join(test.words for test in self.tests)
        return f"{self.shown} must {wanted}" + (", where it is given" if self.optional else "")


def place(text: str) -> tuple[str, ...]:
    """Where an argument stands. Raises ValueError, whose text says how to write it."""
    if text.startswith("/"):
        found = tuple(part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/"))
    else:
        found = tuple(text.split("."))
    if not all(found):
        raise ValueError("names no argument; write NAME, NAME.MEMBER, or a JSON pointer /NAME/MEMBER")
    return found


def _find(value: object, at: tuple[str, ...]) -> Iterator[object]:
    """Every value at that place, and ``_MISSING`` where there is none. Raises _Unclear."""
    if not at:
        yield value
        return
    name, rest = at[0], at[1:]
    if isinstance(value, dict):
        if name == EACH:
            inner = list(value.values())
        else:
            found = value.get(name, _MISSING)
            if len(value) > (found is not _MISSING):
                folded = fold(name)
                if any(key != name and fold(key) == folded for key in value):
                    raise _Unclear
            inner = [found]
    elif isinstance(value, list):
        if name == EACH:
            inner = list(value)
        elif _INDEX.fullmatch(name):
            inner = [value[int(name)]] if int(name) < len(value) else [_MISSING]
        else:
            raise _Unclear
    else:
        raise _Unclear
    if not inner:
        inner = [_MISSING]
    for each in inner:
        if each is _MISSING:
            yield _MISSING
        else:
            yield from _find(each, rest)


def _shown(value: Scalar) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
