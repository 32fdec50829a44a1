"""Patterns that the operator writes, in RE2: linear in the text, whatever the pattern is."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from penstock_agent.gate.redaction.keys import Span
from penstock_agent.gate.regex import BadRegex, Regex, compiled

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
        data = text.encode("utf-8", "replace")
        group = min(1, self._regex.groups)
        found = []
        at_byte = at = 0
        for match in self._regex.finditer(data):
            start, end = match.span(group)
            if start < 0:  # a group that took no part
                start, end = match.span(0)
            if start == end or start < at_byte:
                continue
            at += len(data[at_byte:start].decode())
            length = len(data[start:end].decode())
            found.append((at, at + length))
            at, at_byte = at + length, end
        return found

    def find_each(self, texts: Sequence[str]) -> Iterator[tuple[int, Span]]:
        """The same in several texts, with the number of each. Far quicker than one by one."""
        if self._anywhere is None or len(texts) == 1:
            for number, text in enumerate(texts):
                for span in self.find(text):
                    yield number, span
            return
        pieces = [text.encode("utf-8", "replace") for text in texts]
        data = b"\n".join(pieces)
        starts = list(accumulate((len(piece) + 1 for piece in pieces), initial=0))
        at = 0
        while at < len(data) and (match := self._anywhere.search(data, at)) is not None:
            number = min(bisect_right(starts, match.span()[0]) - 1, len(pieces) - 1)
            for span in self.find(texts[number]):
                yield number, span
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
