"""Regular expressions in linear time, for texts that callers choose.

The whole text has to match. There is what an automaton can decide: characters, ``.``, classes, ``\\d``,
``\\w``, ``\\s`` and their opposites (of ASCII), groups, ``|``, ``* + ?`` and ``{m,n}``. There are no back
references and no looking around. Each character of the text is one step, whatever the expression is.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass, field
from typing import Final

MAX_EXPRESSION: Final = 500
MAX_STATES: Final = 1000
"""Of the automaton: ``(a{100}){100}`` would be large."""
MAX_TEXT: Final = 1024
"""Characters of a text; a longer one does not match."""
MAX_STEPS: Final = 10_000
"""Steps that are remembered of one expression, and those of one more text."""
MAX_DEPTH: Final = 30
"""Groups inside each other."""

_DIGITS: Final = frozenset(string.digits)
_WORD: Final = frozenset(string.ascii_letters + string.digits + "_")
_SPACE: Final = frozenset(" \t\n\r\f\v")
_CLASSES: Final = {"d": _DIGITS, "w": _WORD, "s": _SPACE}
_ESCAPES: Final = {"t": "\t", "n": "\n", "r": "\r"}
_REPEATS: Final = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_COUNTED: Final = re.compile(r"\{(\d{1,4})(?:(,)(\d{1,4})?)?\}")


class BadExpression(ValueError):
    """The text says what is wrong, and what can be written."""


@dataclass(frozen=True, slots=True)
class _Set:
    """Characters: single ones and ranges, or all others."""

    single: frozenset[str]
    ranges: tuple[tuple[str, str], ...] = ()
    others: bool = False

    def holds(self, character: str) -> bool:
        found = character in self.single or any(low <= character <= high for low, high in self.ranges)
        return found is not self.others


_ANY: Final = _Set(frozenset("\n"), others=True)


@dataclass(slots=True)
class _Piece:
    """A part of the automaton: where it begins, and where it ends."""

    start: int
    end: int


@dataclass(eq=False, slots=True)
class Expression:
    """``source`` compiled. Raises :exc:`BadExpression`."""

    source: str
    _moves: list[tuple[_Set, int] | None] = field(init=False, repr=False)
    _free: list[list[int]] = field(init=False, repr=False)
    _last: int = field(init=False, repr=False)
    _first: frozenset[int] = field(init=False, repr=False)
    _ids: dict[frozenset[int], int] = field(init=False, repr=False)
    _sets: list[frozenset[int]] = field(init=False, repr=False)
    _steps: list[dict[str, int]] = field(init=False, repr=False)
    """Of each set of states that was met: where a character leads to."""
    _known: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        parser = _Parser(self.source)
        piece = parser.whole()
        self._moves, self._free, self._last = parser.moves, parser.free, piece.end
        self._first = self._closed({piece.start})
        self._forget()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self.source == other.source

    def __hash__(self) -> int:
        return hash(self.source)

    def matches(self, text: str) -> bool:
        """Whether all of ``text`` is of this form."""
        if len(text) > MAX_TEXT:
            return False
        if self._known >= MAX_STEPS:
            self._forget()
        now, steps = 0, self._steps
        for character in text:
            after = steps[now].get(character)
            now = self._step(now, character) if after is None else after
            if not self._sets[now]:
                return False
        return self._last in self._sets[now]

    def _step(self, now: int, character: str) -> int:
        after = set()
        for state in self._sets[now]:
            move = self._moves[state]
            if move is not None and move[0].holds(character):
                after.add(move[1])
        found = self._id(self._closed(after))
        self._steps[now][character] = found
        self._known += 1
        return found

    def _id(self, states: frozenset[int]) -> int:
        found = self._ids.get(states)
        if found is None:
            found = self._ids[states] = len(self._sets)
            self._sets.append(states)
            self._steps.append({})
        return found

    def _forget(self) -> None:
        self._ids, self._sets, self._steps, self._known = {}, [], [], 0
        self._id(self._first)

    def _closed(self, states: set[int]) -> frozenset[int]:
        """With all that is reached without a character."""
        left = list(states)
        while left:
            for after in self._free[left.pop()]:
                if after not in states:
                    states.add(after)
                    left.append(after)
        return frozenset(states)


class _Parser:
    """By recursive descent, into Thompson's automaton."""

    def __init__(self, source: str) -> None:
        if len(source) > MAX_EXPRESSION:
            raise BadExpression(f"is longer than {MAX_EXPRESSION} characters")
        # All of a text has to match anyway, so these two say nothing.
        text = source.removeprefix("^")
        if text.endswith("$") and not text.endswith("\\$"):
            text = text[:-1]
        self._text = text
        self._at = 0
        self._depth = 0
        self.moves: list[tuple[_Set, int] | None] = []
        self.free: list[list[int]] = []

    def whole(self) -> _Piece:
        piece = self._either()
        if self._at < len(self._text):
            raise BadExpression("has a ) without its (")
        return piece

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        character = self._peek()
        self._at += 1
        return character

    def _state(self) -> int:
        if len(self.moves) >= MAX_STATES:
            raise BadExpression("is too large; write smaller numbers in { }")
        self.moves.append(None)
        self.free.append([])
        return len(self.moves) - 1

    def _either(self) -> _Piece:
        pieces = [self._sequence()]
        while self._peek() == "|":
            self._take()
            pieces.append(self._sequence())
        if len(pieces) == 1:
            return pieces[0]
        start, end = self._state(), self._state()
        for piece in pieces:
            self.free[start].append(piece.start)
            self.free[piece.end].append(end)
        return _Piece(start, end)

    def _sequence(self) -> _Piece:
        start = self._state()
        end = start
        while self._peek() not in ("", "|", ")"):
            piece = self._repeated()
            self.free[end].append(piece.start)
            end = piece.end
        return _Piece(start, end)

    def _repeated(self) -> _Piece:
        begun = self._at
        piece = self._atom()
        least, most = self._count()
        if (least, most) == (1, 1):
            return piece
        if self._count() != (1, 1):
            raise BadExpression("has two repetitions in a row, as in a*? or a++; write one")
        rest = self._at
        # The atom is read again for each time that it may stand there: a state is never shared.
        start = self._state()
        end = start
        for _ in range(least):
            self._at = begun
            one = self._atom()
            self.free[end].append(one.start)
            end = one.end
        last = self._state()
        if most is None:
            self._at = begun
            one = self._atom()
            self.free[end] += [one.start, last]
            self.free[one.end] += [one.start, last]
        else:
            self.free[end].append(last)
            for _ in range(most - least):
                self._at = begun
                one = self._atom()
                self.free[end].append(one.start)
                end = one.end
                self.free[end].append(last)
        self._at = rest
        return _Piece(start, last)

    def _count(self) -> tuple[int, int | None]:
        character = self._peek()
        if character in _REPEATS:
            self._take()
            return _REPEATS[character]
        if character != "{":
            return 1, 1
        found = _COUNTED.match(self._text, self._at)
        if found is None:
            raise BadExpression("has a { that is no repetition; write {m}, {m,} or {m,n}, or \\{ for itself")
        self._at = found.end()
        least = int(found[1])
        most = least if found[2] is None else None if found[3] is None else int(found[3])
        if most is not None and most < least:
            raise BadExpression("has a repetition {m,n} whose n is less than its m")
        # {1} is no repetition, but it is one that another cannot follow.
        return least, most

    def _atom(self) -> _Piece:
        character = self._take()
        if character == "(":
            return self._group()
        if character == "[":
            return self._one(self._class())
        if character == ".":
            return self._one(_ANY)
        if character == "\\":
            return self._one(self._escaped())
        if character in "*+?{":
            raise BadExpression(f"has a {character} that repeats nothing; write \\{character} for itself")
        if character in "^$":
            raise BadExpression(f"has a {character} inside; all of a text has to match anyway")
        return self._one(_Set(frozenset(character)))

    def _one(self, characters: _Set) -> _Piece:
        start, end = self._state(), self._state()
        self.moves[start] = (characters, end)
        return _Piece(start, end)

    def _group(self) -> _Piece:
        if self._peek() == "?":
            if not self._text.startswith("?:", self._at):
                raise BadExpression("has a group (?…), which is not to be had here; write (…)")
            self._at += 2
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise BadExpression(f"has more than {MAX_DEPTH} groups inside each other")
        piece = self._either()
        self._depth -= 1
        if self._take() != ")":
            raise BadExpression("has a ( without its )")
        return piece

    def _escaped(self) -> _Set:
        character = self._take()
        if character.lower() in _CLASSES:
            return _Set(_CLASSES[character.lower()], others=character.isupper())
        return _Set(frozenset(self._literal(character)))

    @staticmethod
    def _literal(character: str) -> str:
        if character in _ESCAPES:
            return _ESCAPES[character]
        if not character or not character.isascii() or character.isalnum():
            raise BadExpression(f"has \\{character}, which is not to be had here")
        return character

    def _class(self) -> _Set:
        others = self._peek() == "^"
        if others:
            self._take()
        single: set[str] = set()
        ranges: list[tuple[str, str]] = []
        first = True
        while (character := self._take()) != "]" or first:
            first = False
            if not character:
                raise BadExpression("has a [ without its ]")
            if character == "[" and self._peek() in (":", ".", "="):
                raise BadExpression("has a class with a name, which is not to be had here")
            if character == "\\":
                character = self._take()
                if character in _CLASSES:
                    single |= _CLASSES[character]
                    continue
                character = self._literal(character)
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("", "]"):
                self._take()
                high = self._take()
                if high == "\\":
                    high = self._literal(self._take())
                if high < character:
                    raise BadExpression("has a range whose end stands before its beginning")
                ranges.append((character, high))
            else:
                single.add(character)
        return _Set(frozenset(single), tuple(ranges), others)
