"""Regular expressions that the operator writes, in RE2: linear in the text, whatever they are.

RE2 is a package of its own, which is needed only where the settings have such an expression.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

INSTALL: Final = "pip install 'penstock[patterns]'"
MAX_PATTERN: Final = 1024
"""Characters of one expression."""
MAX_PROGRAM: Final = 1 << 23
"""Bytes that RE2 may take for one expression, compiled and at work."""
MAX_TEXT: Final = 64 * 1024
"""Characters of a text that is to match as a whole; a longer one does not."""


class BadRegex(ValueError):
    """An expression that cannot be used; the text says why."""


class Match(Protocol):
    def span(self, group: int = 0, /) -> tuple[int, int]: ...


class Regex(Protocol):
    """Of UTF-8."""

    groups: int

    def finditer(self, text: bytes, pos: int = 0, endpos: int = ..., /) -> Iterator[Match]: ...

    def search(self, text: bytes, pos: int = 0, /) -> Match | None: ...

    def fullmatch(self, text: bytes, /) -> Match | None: ...


def compiled(source: str) -> Regex:
    """Raises :exc:`BadRegex`, also where there is no RE2."""
    if len(source) > MAX_PATTERN:
        raise BadRegex(f"is longer than {MAX_PATTERN} characters")
    try:
        import re2
    except ImportError:
        raise BadRegex(
            f"needs a regular expression engine that is not installed here. Run: {INSTALL}"
        ) from None
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_PROGRAM
    try:
        regex: Regex = re2.compile(source, options)
    except re2.error as e:
        words = e.args[0] if e.args else b""
        text = words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)
        raise BadRegex(
            f"is no regular expression of RE2 ({text[:200]}); it has no look-around and no back-references"
        ) from None
    return regex


@dataclass(frozen=True, slots=True)
class Expression:
    """One that a text has to match as a whole. Raises :exc:`BadRegex`."""

    source: str
    _regex: Regex = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_regex", compiled(self.source))

    def matches(self, text: str) -> bool:
        """Not for a text that is too long, or that UTF-8 cannot carry."""
        if len(text) > MAX_TEXT:
            return False
        try:
            return self._regex.fullmatch(text.encode()) is not None
        except UnicodeEncodeError:
            return False
