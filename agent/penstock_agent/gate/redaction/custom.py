"""Patterns that the operator writes, in RE2: linear in the text, whatever the pattern is."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from penstock_agent.gate.redaction.keys import Span
from penstock_agent.gate.regex import BadRegex, Match, Regex, compiled

STEP: Final = 3 << 16
"""Bytes that are looked through in one step."""
REACH: Final = 1 << 16
_AT_ONCE: Final = 16
"""Matches in one step."""

_ENDS: Final = (r"\A", r"\z", r"\Q", "(?")
"""What is not the same, or may not be, when other texts stand around one."""


@dataclass(frozen=True, slots=True)
class Custom:
    """One pattern. Where it has a group, the first group is what counts, else all that matches."""

    name: str
    pattern: str
    _regex: Regex = field(repr=False, compare=False)
    _anywhere: Regex | None = field(repr=False, compare=False)
    """What matches in a text of several lines wherever the pattern would match in one of them."""

    def find(self, text: str) -> list[Span]:
        """Where it matches; ``^`` and ``$`` are the ends of ``text``."""
        return [span for some in self.find_in_steps(text) for span in some]

    def find_in_steps(self, text: str) -> Iterator[list[Span]]:
        """The same, for texts of any length. Of a match in a long text, only what its first ``REACH`` bytes
        say is certain.
        """
        data = text.encode("utf-8", "replace")
        at_byte = at = 0
        for some in self._matches(data):
            found = []
            for start, end in some:
                if start == end or start < at_byte:
                    continue
                at += len(data[at_byte:start].decode())
                length = len(data[start:end].decode())
                found.append((at, at + length))
                at, at_byte = at + length, end
            yield found

    def _matches(self, data: bytes) -> Iterator[list[Span]]:
        """In bytes, of the group that counts."""
        size = len(data)
        if size <= STEP:
            yield [self._span(match) for match in self._regex.finditer(data)]
            return
        at = 0
        while at < size:
            after, high = at + STEP, min(size, at + STEP + REACH)
            while high < size and data[high] & 0xC0 == 0x80:  # not within a character
                high -= 1
            found: list[Span] = []
            for match in self._regex.finditer(data, at, high):
                start, end = match.span()
                if start >= after:
                    break
                if end == high < size:
                    match = self._regex.search(data, start) or match
                    end = match.span()[1]
                found.append(self._span(match))
                if end > after:
                    after = end
                    break
                if not len(found) % _AT_ONCE:
                    yield found
                    found = []
            at = after
            yield found

    def _span(self, match: Match) -> Span:
        start, end = match.span(min(1, self._regex.groups))
        return (start, end) if start >= 0 else match.span()  # a group that took no part

    def find_each(self, texts: Sequence[str]) -> Iterator[tuple[int, list[Span]]]:
        """The same in several texts, with the number of each. Far quicker than one by one."""
        if self._anywhere is None or len(texts) == 1 or sum(map(len, texts)) > STEP:
            for number, text in enumerate(texts):
                for spans in self.find_in_steps(text):
                    yield number, spans
            return
        pieces = [text.encode("utf-8", "replace") for text in texts]
        data = b"\n".join(pieces)
        starts = list(accumulate((len(piece) + 1 for piece in pieces), initial=0))
        at = 0
        while at < len(data) and (match := self._anywhere.search(data, at)) is not None:
            number = min(bisect_right(starts, match.span()[0]) - 1, len(pieces) - 1)
            yield number, self.find(texts[number])
            at = starts[number + 1]


def compile_pattern(name: str, pattern: str) -> Custom:
    """Raises :exc:`BadRegex`, also where there is no RE2."""
    regex = compiled(pattern)
    if regex.search(b"") is not None:
        raise BadRegex("matches where nothing is; write + in place of *, or something that must be there")
    anywhere: Regex | None = None
    if not any(sign in pattern for sign in _ENDS):
        anywhere = compiled(f"(?m){pattern}")
    return Custom(name, pattern, regex, anywhere)
