"""Reading a ledger, beside the agent that writes it or without one. Nothing here changes anything.

Whether what is read is true, the verifier says; here, lines that are no records are passed over.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Final

import msgspec

from penstock_agent.ledger import record, segments
from penstock_agent.problem import Problem

FOLLOW_EVERY: Final = 0.3
"""Seconds between looks at a ledger that is followed."""


class Who(msgspec.Struct, frozen=True):
    """A caller, as the ledger introduced them."""

    issuer: str = ""
    subject: str = ""
    name: str = ""
    email: str = ""
    client: str = ""
    groups: list[str] = []

    @property
    def person(self) -> str:
        """As people know them."""
        if self.name and self.email:
            return f"{self.name} <{self.email}>"
        return self.name or self.email or self.subject or "(unknown)"

    def called(self, text: str) -> bool:
        """Whether that is a name of theirs, or part of their display name."""
        said = text.casefold()
        known = (self.subject.casefold(), self.email.casefold())
        return said in known or said in self.name.casefold()


NOBODY: Final = Who()


@dataclass(frozen=True, slots=True)
class Record:
    """One record, with its caller in the place of the caller's number."""

    n: int
    at: str
    """RFC 3339 in UTC."""
    kind: str
    said: dict[str, object]
    who: Who

    def text(self, name: str) -> str:
        """A member, as text; empty when it is not there."""
        value = self.said.get(name, "")
        return value if isinstance(value, str) else str(value)

    def number(self, name: str) -> int:
        """A member, as a number; 0 when it is not there."""
        value = self.said.get(name, 0)
        return value if isinstance(value, int) else 0

    def resolved(self) -> dict[str, object]:
        """All that it says."""
        if self.who is NOBODY or self.kind == "who":
            return self.said
        return {**self.said, "who": {k: v for k, v in msgspec.to_builtins(self.who).items() if v}}


class Reader:
    """Takes lines in order."""

    def __init__(self, since: float = 0.0, until: float = inf) -> None:
        """Seconds since 1970; ``until`` is the first moment that is not wanted."""
        self._since = record.moment(since)
        self._until = b"~" if until == inf else record.moment(until)
        self._callers: dict[int, Who] = {}

    def take(self, line: bytes) -> Record | None:
        """The record, if it is one that is wanted."""
        start = segments.start_of(line)
        if start is None:
            return None
        n, at, kind = start
        if kind == "segment":
            self._callers.clear()
        wanted = self._since <= at < self._until
        if not wanted and kind != "who":
            return None
        try:
            said = msgspec.json.decode(line, type=dict[str, object])
            number = said.get("who")
            if kind == "who" and isinstance(number, int):
                self._callers[number] = msgspec.convert(said, Who)
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError):
            return None
        if not wanted:
            return None
        who = self._callers.get(number, NOBODY) if isinstance(number, int) else NOBODY
        return Record(n, at.decode("ascii", "replace"), kind, said, who)


def read(folder: Path, since: float = 0.0, until: float = inf) -> Iterator[Record]:
    """The records of a time, from the oldest on. Raises Problem."""
    reader = Reader(since, until)
    for path in _from(folder, since):
        yield from _records(path, reader)


def follow(folder: Path, since: float, wait: Callable[[float], None] = time.sleep) -> Iterator[Record | None]:
    """The same, and then what comes. None whenever all that there is has been read. Never ends."""
    reader = Reader(since)
    path = _from(folder, since)[0]
    place, rest = 0, b""
    while True:
        try:
            with path.open("rb") as file:
                file.seek(place)
                data = file.read(1 << 20)
        except OSError as error:
            raise _unreadable(path, error) from None
        place += len(data)
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if (found := reader.take(line)) is not None:
                yield found
        if data:
            continue
        later = [each for _, each in _files(folder) if each.name > path.name]
        if later:
            path, place, rest = later[0], 0, b""
            continue
        yield None
        wait(FOLLOW_EVERY)


class Tail:
    """The newest records of some kinds. Each look reads only what has come since the last one."""

    def __init__(self, folder: Path, number: int, kinds: Container[str]) -> None:
        """At most ``number`` of them."""
        self._folder = folder
        self._kinds = kinds
        self._reader = Reader()
        self._path = Path()
        self._place = 0
        self._rest = b""
        self._lines: deque[bytes] = deque(maxlen=number)
        self._found: deque[Record] = deque(maxlen=number)

    def look(self) -> list[Record]:
        """From the oldest on. Raises Problem."""
        paths = [path for _, path in _files(self._folder)]
        later = paths[paths.index(self._path) :] if self._path in paths else paths[-2:]
        for path in later:
            if path != self._path:
                self._path, self._place, self._rest = path, 0, b""
            self._read()
            self._settle()  # the next segment numbers its callers anew
        return list(self._found)

    def _read(self) -> None:
        try:
            with self._path.open("rb") as file:
                file.seek(self._place)
                while data := file.read(1 << 20):
                    self._place += len(data)
                    *lines, self._rest = (self._rest + data).split(b"\n")
                    for line in lines:
                        self._take(line)
        except OSError as error:
            raise _unreadable(self._path, error) from None

    def _take(self, line: bytes) -> None:
        start = segments.start_of(line)
        if start is not None and start[2] in _INTRODUCING:
            self._reader.take(line)
        elif start is not None and start[2] in self._kinds:
            self._lines.append(line)

    def _settle(self) -> None:
        for line in self._lines:
            if (found := self._reader.take(line)) is not None:
                self._found.append(found)
        self._lines.clear()


_INTRODUCING: Final = frozenset({"segment", "who"})


def _records(path: Path, reader: Reader) -> Iterator[Record]:
    try:
        with path.open("rb") as file:
            while line := file.readline(segments.MAX_LINE):
                if (found := reader.take(line)) is not None:
                    yield found
    except OSError as error:
        raise _unreadable(path, error) from None


def _from(folder: Path, since: float) -> list[Path]:
    """The files that can hold something of this time: those before are closed before it begins."""
    found = [path for _, path in _files(folder)]
    first = 0
    for number, path in enumerate(found[1:], 1):
        opening = segments.opening(path)
        if opening is None or opening.at >= since:
            break
        first = number
    return found[first:]


def _files(folder: Path) -> list[tuple[int, Path]]:
    try:
        found = segments.files(folder)
    except FileNotFoundError:
        found = []
    except OSError as error:
        raise _unreadable(folder, error) from None
    if not found:
        raise Problem(f"There is no ledger in {folder}: it begins when the agent runs for the first time.")
    if not os.access(found[-1][1], os.R_OK):
        raise _unreadable(found[-1][1], PermissionError(13, "Permission denied"))
    return found


def _unreadable(path: Path, error: OSError) -> Problem:
    return Problem(
        f"{path} cannot be read: {error.strerror}. Run the command as root or as the user that runs the "
        "agent."
    )
