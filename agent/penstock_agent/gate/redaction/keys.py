"""Private keys in a text: PEM (RFC 7468), OpenSSH, PGP, SSH2 and PuTTY files, whole or cut off.

Between a BEGIN and its END everything counts as the key, so line numbers, quotes and indentation do not hide
it. Where one of the two is missing, what looks like lines of base64 after the one or before the other does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

MAX_KEY: Final = 1 << 16
"""Characters between the ends of one key; the two ends are not taken for those of one key beyond it."""

Span = tuple[int, int]

_MARK: Final = re.compile(
    r"-{4,5} ?(BEGIN|END) (?:[A-Z0-9]{1,16} ){0,4}PRIVATE KEY(?: BLOCK)? ?-{4,5}"
    r"|(PuTTY-User-Key-File-[0-9]:)"
    r"|Private-(?:MAC|Hash): ?[0-9a-f]{40,64}"
)
# What follows a BEGIN without an END: a few headers, then lines of base64 with whatever stands before each.
_REST: Final = re.compile(
    r"(?: ?(?:ssh|ecdsa)-[a-z0-9-]{3,40})?+"
    r"(?:[\s\\rn]{0,8}(?:Proc-Type|DEK-Info|Comment|Version|Hash|Public-Lines|Private-Lines|Encryption)"
    r"[^\n\\\x00\x01]{0,200}"
    r"|[^A-Za-z/=\x00\x01]{0,24}+[A-Za-z0-9+/=]{16,}+)*+"
)
_LINE: Final = re.compile(r"[^A-Za-z/=\x00\x01]{0,24}[A-Za-z0-9+/=]{1,200}\\?[rn\s]{0,4}\Z")
_BORDER: Final = re.compile(r"[\x00\x01]")  # between two texts: a key is in one of them
_LEAST: Final = 16
_LONGEST: Final = 200


def find(text: str) -> list[Span]:
    """Where private keys are."""
    if "PRIVATE KEY" not in text and "PuTTY-User" not in text and "Private-" not in text:
        return []
    return list(_find(text))


def _find(text: str) -> Iterator[Span]:
    marks = [(m.start(), m.end(), m[1] == "BEGIN" or m[2] is not None) for m in _MARK.finditer(text)]
    done = 0
    skip = -1
    for at, ((start, end, begins), (next_start, next_end, next_begins)) in enumerate(
        pairwise([*marks, (len(text), len(text), True)])
    ):
        if at == skip:
            continue
        if begins:
            near = not next_begins and next_start - end <= MAX_KEY
            if near and _BORDER.search(text, end, next_start) is None:
                skip = at + 1
                done = next_end
                yield start, next_end
                continue
            rest = _REST.match(text, end, next_start)
            stop = end if rest is None else rest.end()
            if stop - end >= _LEAST:
                done = stop
                yield start, stop
        else:
            low = max(done, start - MAX_KEY)
            low = max(low, text.rfind("\0", low, start) + 1, text.rfind("\1", low, start) + 1)
            begin = _before(text, low, start)
            if start - begin >= _LEAST:
                yield begin, end
            done = end


def _before(text: str, low: int, end: int) -> int:
    """Where the lines of base64 begin that end at ``end``; not before ``low``."""
    begin = end
    while begin > low:
        newline = text.rfind("\n", low, begin - 1) if begin - 1 > low else -1
        line_start = low if newline < 0 else newline + 1
        line_start = max(line_start, begin - _LONGEST)  # a key may stand in one long line
        line = text[line_start:begin].strip("\r\n ")
        # Only the last line of a key is short.
        if _LINE.match(line) is None or (len(line) < _LEAST and begin != end):
            break
        begin = line_start
    return begin
