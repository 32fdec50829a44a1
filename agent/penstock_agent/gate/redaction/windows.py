"""The tokens of raw JSON, as many at a time as are read in one step."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

LONG_NUMBER: Final = 12
"""Characters of a number from which on it is looked at as a text is, where nothing else is asked for."""
_STRING: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
#: Last of all, a string that goes on beyond what is read in one step: up to there.
_CUT: Final = rb'|".*+'
ALL: Final = re.compile(_STRING + rb'(\s*+:)?+|[{}\[\],]|[^\s{}\[\]:,"]++' + _CUT, re.DOTALL)
#: Where nobody asks for the places of values, neither commas nor short numbers are of interest.
MOST: Final = re.compile(_STRING + rb"(\s*+:)?+|[{}\[\]]|-?[0-9][0-9.eE+-]{11,}+" + _CUT, re.DOTALL)
_WINDOW: Final = 8192
"""Bytes of JSON that are read in one step, where no string is longer."""
_NUMERIC: Final = frozenset(b"0123456789.eE+-")
(QUOTE,) = b'"'


def windows(token: re.Pattern[bytes], raw: bytes) -> Iterable[list[re.Match[bytes]]]:
    """All tokens, as many at a time as are read in one step."""
    return (list(token.finditer(raw)),) if len(raw) <= _WINDOW else _several(token, raw)


def _several(token: re.Pattern[bytes], raw: bytes) -> Iterator[list[re.Match[bytes]]]:
    at, size = 0, len(raw)
    while at < size:
        end = at + _WINDOW
        if end >= size:
            yield list(token.finditer(raw, at))
            return
        number = end
        while number > end - 2 * LONG_NUMBER and raw[number - 1] in _NUMERIC:
            number -= 1
        if number > end - 2 * LONG_NUMBER:  # a shorter one would not be seen for one when it is cut
            end = number
        tokens = list(token.finditer(raw, at, end))
        at = end
        if tokens:
            last = tokens[-1]
            may_be_key = raw[last.start()] == QUOTE and raw[last.end() : end].isspace()
            if last.end() == end or may_be_key:
                tokens[-1] = last = token.match(raw, last.start()) or last
                at = max(end, last.end())
        yield tokens
