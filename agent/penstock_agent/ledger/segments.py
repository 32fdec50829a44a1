"""The ledger's folder: which segments there are, and where the last one ends."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from penstock_agent.ledger.record import BEFORE_ALL, SEAL_BYTES

FOLDER: Final = "ledger"
"""In the state folder."""
KEPT: Final = "ledger-head.json"
"""In the state folder: the newest head that the relay gave back."""
FOLLOWS: Final = "ledger-follows.json"
"""In the state folder: the last head of the ledger of the agent that this one has replaced."""
MAX_LINE: Final = 256 * 1024
"""Bytes of a record."""

_NAME: Final = re.compile(r"(\d{8})\.jsonl")
_START: Final = re.compile(rb'\{"n":(\d{1,16}),"at":"([^"]{1,40})","kind":"([a-z]+)"')
_SEAL: Final = re.compile(rb',"h":"([0-9a-f]{64})"\}')


class _Opening(msgspec.Struct, frozen=True):
    n: int
    at: str
    segment: int
    previous: str
    key: str
    site: str
    agent: str


class _Who(msgspec.Struct, frozen=True):
    who: int


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of the ledger, by what its first record says."""

    path: Path
    number: int
    first: int
    """Number of its first record."""
    previous: bytes
    """The hash before its first record."""
    at: float
    """When it was begun, in seconds since 1970."""
    key: str
    site: str
    agent: str


@dataclass(slots=True)
class End:
    """Where a segment ends."""

    n: int = 0
    hash: bytes = BEFORE_ALL
    size: int = 0
    """Bytes up to the end of the last record that is whole and fits."""
    dropped: int = 0
    """Bytes behind it."""
    callers: int = 0
    """The largest number that was given to a caller."""
    last: str = ""
    """The kind of the last record."""
    heads: list[int] = field(default_factory=list)
    """Numbers of the records that are signed heads."""


def name(number: int) -> str:
    return f"{number:08d}.jsonl"


def files(folder: Path) -> list[tuple[int, Path]]:
    """Every segment's number and file, in order. Raises OSError."""
    found = [(match, path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return sorted((int(match[1]), path) for match, path in found)


def opening(path: Path) -> Segment | None:
    """What the first record of a file says; None when it has none. Raises OSError."""
    with path.open("rb") as file:
        line = file.readline(MAX_LINE)
    try:
        said = msgspec.json.decode(line, type=_Opening)
        previous = bytes.fromhex(said.previous)
        at = datetime.fromisoformat(said.at).timestamp()
    except ValueError:
        return None
    return Segment(path, said.segment, said.n, previous, at, said.key, said.site, said.agent)


def start_of(line: bytes) -> tuple[int, bytes, str] | None:
    """Number, moment and kind of a record; None for what is none."""
    found = _START.match(line)
    return None if found is None else (int(found[1]), found[2], found[3].decode())


def end(segment: Segment) -> End:
    """Reads the whole segment. Raises OSError."""
    state = End(segment.first - 1, segment.previous)
    total = 0
    with segment.path.open("rb") as file:
        for line in _lines(file):
            total += len(line)
            if total - state.size == len(line):  # nothing was wrong before
                _take(state, line)
    state.dropped = total - state.size
    return state


def hash_at(held: Sequence[Segment], n: int) -> bytes | None:
    """The hash that record ``n`` gives itself; None when it is not there. Raises OSError."""
    segment = next((each for each in reversed(held) if each.first <= n), None)
    if segment is None:
        return None
    with segment.path.open("rb") as file:
        for number, line in enumerate(_lines(file), segment.first):
            if number == n:
                seal = _SEAL.fullmatch(line[-SEAL_BYTES - 1 : -1])
                return None if seal is None else bytes.fromhex(seal[1].decode())
    return None


def _lines(file: Iterator[bytes]) -> Iterator[bytes]:
    yield from file


def _take(state: End, line: bytes) -> None:
    body = line[: -SEAL_BYTES - 1]
    start, seal = start_of(line), _SEAL.fullmatch(line[-SEAL_BYTES - 1 : -1])
    digest = sha256(state.hash + body)
    if (
        not line.endswith(b"\n")
        or start is None
        or start[0] != state.n + 1
        or seal is None
        or seal[1] != digest.hexdigest().encode()
    ):
        return
    state.n, state.hash, state.last = start[0], digest.digest(), start[2]
    state.size += len(line)
    if state.last == "who":
        state.callers = max(state.callers, msgspec.json.decode(line, type=_Who).who)
    elif state.last == "head":
        state.heads.append(state.n)
