#!/usr/bin/env python3
"""Verifies a ledger of a Penstock agent, and needs nothing but Python 3.11: copy this file and the ledger's
folder to any machine.

    python3 verify_main.py FOLDER [--head FILE]… [--key KEY] [--json]

Every record is bound by a hash to all records before it, and the newest hash is signed again and again (a
head). This program recomputes all of it. A ledger that was cut short at its end, or replaced by an older
copy, is whole in itself: only a head that was kept somewhere else shows that. The relay keeps one; its
administrator prints it with penstock-relay agent heads. The format is described in docs/ledger.md.

Exit status: 0 when everything holds, 1 when something does not, 2 when it could not be looked at.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from hashlib import sha256, sha512
from pathlib import Path

FORMAT = 1
MAX_LINE = 256 * 1024
"""Bytes of a record."""
PROGRESS_EVERY = 32 << 20
"""Bytes between two words about how far it is."""
MAX_AT_MS = 253_402_300_799_999
"""The end of the year 9999."""
TORN_WAIT = 0.3
"""Seconds after which a last line is read again that the agent may have been about to end."""

_NAME = re.compile(r"(\d{8})\.jsonl")
_START = re.compile(rb'\{"n":(\d{1,16}),"at":"([^"\\]{1,40})","kind":"([a-z_]{1,30})"')
_SEAL = re.compile(rb',"h":"([0-9a-f]{64})"\}\n')
_SEAL_BYTES = 73

CheckSignature = Callable[[bytes, bytes, bytes], bool]
"""Public key, signature, message."""


class Unusable(Exception):
    """It cannot be looked at; the text says why."""


@dataclass(frozen=True)
class Head:
    """A signed statement: record ``n`` had this hash at that moment."""

    key: bytes
    n: int
    hash: bytes
    at_ms: int
    signature: bytes
    found: str = ""
    """Where it comes from, for people."""

    @property
    def signed(self) -> bytes:
        context = b"penstock ledger head v1\0"
        return context + struct.pack("!32sQ32sQ", self.key, self.n, self.hash, self.at_ms)


@dataclass(frozen=True)
class Bad:
    """The first thing that is wrong."""

    file: str
    line: int
    """0 where it is not about a line."""
    n: int
    what: str


@dataclass
class Result:
    """What was found."""

    records: int = 0
    segments: int = 0
    bytes: int = 0
    first: int = 0
    """Number of the first record that is there; those before were removed by the retention."""
    last: int = 0
    hash: str = ""
    """That of the last record."""
    key: str = ""
    """base64url; what the ledger's heads are signed with."""
    site: str = ""
    agent: str = ""
    signed: int = 0
    """Number of the last record that a head in the ledger signs."""
    signed_at: str = ""
    heads: int = 0
    """Heads in the ledger, all of them good."""
    expected: bool = False
    """Whether that is the key that the verifier was told."""
    compared: list[str] = field(default_factory=list)
    """Heads from elsewhere that this ledger continues, in words."""
    notes: list[str] = field(default_factory=list)
    bad: Bad | None = None

    @property
    def good(self) -> bool:
        return self.bad is None


class _Wrong(Exception):
    def __init__(self, what: str, n: int) -> None:
        self.what = what
        self.n = n


@dataclass
class _Opened:
    """A segment's first record."""

    number: int
    previous: str
    key: bytes


class Verifier:
    """Takes every line of every file, in order."""

    def __init__(
        self, heads: Sequence[Head] = (), key: bytes | None = None, check: CheckSignature | None = None
    ) -> None:
        """``key``: the only one that may have signed; None for the one that the ledger itself names."""
        self.result = Result()
        self._check = check or check_signature
        self._key = key
        self.result.expected = key is not None
        self._named: bytes | None = None
        self._hash = b""
        self._wanted = {head.n for head in heads}
        self._heads = sorted(heads, key=lambda head: head.n)
        self._hashes: dict[int, bytes] = {}
        self._number = 0
        self._retired: dict[int, tuple[int, str, int]] = {}
        self._begins: tuple[int, int, str] = (1, 1, "")
        self._lost: Bad | None = None

    def file(self, number: int, name: str, lines: Iterable[bytes]) -> bool:
        """One segment. False when something is wrong, and nothing more is looked at."""
        result, line_number = self.result, 0
        try:
            for line in lines:
                line_number += 1
                self._line(line, number, line_number)
            if line_number == 0:
                raise _Wrong("the file is empty", result.last + 1)
        except _Wrong as wrong:
            result.bad = Bad(name, line_number, wrong.n, wrong.what)
            return False
        result.segments += 1
        return True

    def _line(self, line: bytes, number: int, line_number: int) -> None:
        result = self.result
        begins = line_number == 1 and result.records == 0
        expected = result.last + 1
        start, seal = _START.match(line), _SEAL.fullmatch(line, max(0, len(line) - _SEAL_BYTES))
        if start is None or seal is None:
            why = "this is no record" if line.endswith(b"\n") else "the line is cut off"
            raise _Wrong(why, _due(0, number, begins) if begins else expected)
        n = int(start[1])
        if not begins and n != expected:
            if n > expected:
                gap = (
                    f"record {expected} is" if n == expected + 1 else f"the records {expected} to {n - 1} are"
                )
                raise _Wrong(f"{gap} missing before this one", expected)
            raise _Wrong(
                f"this record has the number {n}, and {expected} is due: it was moved or added", expected
            )
        if line_number == 1:
            self._begin(line, start[3], n, number, begins)
        digest = sha256(self._hash + line[: seal.start()]).digest()
        if digest.hex().encode() != seal[1]:
            raise _Wrong(
                "its hash does not fit it and the records before it: it was changed",
                n,
            )
        kind = start[3]
        if kind == b"head":
            self._head(_members(line, n), n)
        elif kind == b"segment":
            if line_number != 1:
                raise _Wrong("a segment begins in the middle of a file", n)
        elif kind == b"retired":
            self._removed(_members(line, n), n)
        elif kind == b"cut":
            self._cut_off(_members(line, n), n)
        elif kind == b"event" and b'"what":"ledger_recovered"' in line:
            about = _members(line, n).get("about")
            if isinstance(about, dict) and "unsure_from" in about:
                first, last = about["unsure_from"], about.get("unsure_to")
                result.notes.append(
                    f"Record {n}: the disk failed; it may not have kept the records {first} to {last}, so "
                    "after a loss of power they can be missing."
                )
        self._hash = digest
        if n in self._wanted:
            self._hashes[n] = digest
        result.records += 1
        result.last = n
        result.bytes += len(line)

    def _begin(self, line: bytes, kind: bytes, n: int, number: int, begins: bool) -> None:
        due = _due(n, number, begins)
        if kind != b"segment":
            raise _Wrong("the file does not begin with the record of its segment", due)
        said = _members(line, n)
        key = _bytes(said.get("key"), 32)
        previous = said.get("previous")
        if said.get("format") != FORMAT:
            raise _Wrong(f"this program knows the format {FORMAT} only: take a newer one", due)
        if said.get("segment") != number:
            raise _Wrong(f"the file is called {number}, and it says: segment {said.get('segment')}", due)
        if key is None or not isinstance(previous, str) or not re.fullmatch("[0-9a-f]{64}", previous):
            raise _Wrong("the record of the segment cannot be read", due)
        if begins:
            self._hash = bytes.fromhex(previous)
            self._begins = (number, n, previous)
            self.result.first = n
        elif number != self._number + 1:
            raise _Wrong(f"segment {self._number + 1} is missing", due)
        elif previous != self._hash.hex():
            raise _Wrong("the segment does not follow from the one before", due)
        if self._named is not None and key != self._named:
            raise _Wrong("the segment names another key than those before", due)
        if self._key is not None and key != self._key:
            raise _Wrong(
                "the segment is of another ledger: it names another key than the one that is expected", n
            )
        self._named, self._number = key, number
        self.result.key = str(said.get("key"))
        self.result.site, self.result.agent = str(said.get("site")), str(said.get("agent"))

    def _head(self, said: dict[str, object], n: int) -> None:
        hash, signature = said.get("hash"), _bytes(said.get("signature"), 64)
        of, at_ms = said.get("of"), said.get("at_ms")
        if of != n - 1 or hash != self._hash.hex():
            raise _Wrong(
                "the signed head is not about the record before it: records since the head before it are not "
                "those that were signed",
                n,
            )
        if signature is None or self._named is None or not isinstance(at_ms, int) or not _is_moment(at_ms):
            raise _Wrong("the signed head cannot be read", n)
        head = Head(self._named, n - 1, self._hash, at_ms, signature)
        if not self._check(head.key, head.signature, head.signed):
            raise _Wrong(
                "the signature is not that of the ledger's key: the records from "
                f"{self.result.signed + 1} to this one were not written by the agent that holds the key",
                n,
            )
        self.result.heads += 1
        self.result.signed = n - 1
        self.result.signed_at = _moment(at_ms)

    def _cut_off(self, said: dict[str, object], n: int) -> None:
        after, signed, file = said.get("after"), said.get("signed"), said.get("file")
        if isinstance(after, int) and isinstance(signed, int):
            self._lost = self._lost or Bad(
                "", 0, after + 1,
                f"the records {after + 1} to {signed} at least had been signed, and were not whole any more "
                "when the agent started: they were changed, or the disk lost them. What was left is in "
                f"{file} (record {n} says so)",
            )  # fmt: skip
            return
        self.result.notes.append(
            f"Record {n}: when the agent started, {said.get('bytes')} bytes after record {after} were no "
            f"whole record and were cut off; they are in {file}. A crash leaves that."
        )

    def _removed(self, said: dict[str, object], n: int) -> None:
        segments, last, hash = said.get("segments"), said.get("of"), said.get("hash")
        newest = segments[-1] if isinstance(segments, list) and segments else None
        if not isinstance(newest, int) or not isinstance(last, int) or not isinstance(hash, str):
            raise _Wrong("the record of what was removed cannot be read", n)
        self._retired[newest] = (last, hash, n)

    def end(self) -> Result:
        """After the last file."""
        result = self.result
        if result.bad is None:
            result.bad = self._beginning() or self._lost or self._elsewhere()
        result.hash = self._hash.hex()
        if result.good and result.last - 1 > result.signed:
            result.notes.append(
                f"The records after {result.signed} are not signed yet: whoever can write the folder could "
                "have changed them. A running agent signs every minute, and when it stops."
            )
        return result

    def _beginning(self) -> Bad | None:
        """Whether the ledger may begin where it does."""
        number, n, previous = self._begins
        if self.result.records == 0:
            return Bad("", 0, 0, "there is no record")
        if number == 1:
            if n == 1 and previous == "0" * 64:
                return None
            return Bad(_file(1), 1, n, "the first segment does not begin with record 1")
        *what, said_by = self._retired.get(number - 1, (0, "", 0))
        if said_by and what == [n - 1, previous]:
            if said_by <= self.result.signed:
                self.result.notes.append(
                    f"The segments before {number} were removed by the ledger's retention."
                )
                return None
            # The agent signs such a record before it removes anything. Others can write one, too.
            return Bad(
                _file(number - 1), 0, n - 1, f"the segments before {number} are missing, and record "
                f"{said_by}, which says that they were removed, is not signed",
            )  # fmt: skip
        return Bad(
            _file(number - 1), 0, n - 1, f"the segments before {number} are missing, and no record says that "
            "they were removed",
        )  # fmt: skip

    def _elsewhere(self) -> Bad | None:
        """Whether the ledger goes on from every head that was kept elsewhere."""
        result = self.result
        for head in self._heads:
            if not self._check(head.key, head.signature, head.signed):
                return Bad("", 0, head.n, f"{head.found}: the head is not signed by the key that it names")
            if head.key != self._named:
                return Bad(
                    "", 0, head.n, f"{head.found}: the head is of another ledger: it names another key"
                )
            at = _moment(head.at_ms)
            if head.n > result.last:
                return Bad(
                    _file(self._number), 0, result.last + 1,
                    f"{head.found}: at {at} the ledger had {head.n} records, and it ends with {result.last}: "
                    "it was cut short, or an older copy was put in its place",
                )  # fmt: skip
            if head.n < result.first:
                result.notes.append(f"{head.found}: record {head.n} was removed by the retention.")
                continue
            if self._hashes.get(head.n) != head.hash:
                return Bad(
                    "", 0, head.n,
                    f"{head.found}: at {at} record {head.n} was another one: the ledger was written anew "
                    "from some record before it on",
                )  # fmt: skip
            result.compared.append(f"{head.found}: record {head.n} of {at}")
        return None


def verify(
    folder: Path,
    heads: Sequence[Head] = (),
    key: bytes | None = None,
    check: CheckSignature | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Result:
    """Verify a folder. ``progress`` is told how many bytes of how many have been read. Raises Unusable."""
    try:
        found = sorted(
            (path for path in folder.iterdir() if _NAME.fullmatch(path.name)), key=lambda p: p.name
        )
        total = sum(path.stat().st_size for path in found)
    except OSError as error:
        raise Unusable(f"{folder} cannot be read: {error.strerror}.") from None
    if not found:
        raise Unusable(f"{folder} holds no ledger: there is no file like 00000001.jsonl.")
    verifier, done = Verifier(heads, key, check), 0

    def counted(lines: Iterator[bytes]) -> Iterator[bytes]:
        nonlocal done
        for line in lines:
            before = done // PROGRESS_EVERY
            done += len(line)
            if done // PROGRESS_EVERY != before:
                progress(done, total)
            yield line

    for path in found:
        try:
            if not verifier.file(int(path.name[:8]), path.name, counted(_lines(path, path is found[-1]))):
                break
        except OSError as error:
            raise Unusable(f"{path} cannot be read: {error.strerror}.") from None
    return verifier.end()


def _lines(path: Path, last: bool) -> Iterator[bytes]:
    """The lines up to where the file ends now."""
    with path.open("rb") as file:
        for line in iter(lambda: file.readline(MAX_LINE), b""):
            if last and not line.endswith(b"\n"):
                time.sleep(TORN_WAIT)  # the agent may have been writing it
                line += file.readline(MAX_LINE)
            yield line


def read_key(text: str) -> bytes:
    """A public key in base64url. Raises Unusable."""
    key = _bytes(text, 32)
    if key is None:
        raise Unusable("--key is no Ed25519 key in base64url.")
    return key


def read_heads(path: Path) -> list[Head]:
    """Heads from a file: one object, or a list of them. Raises Unusable."""
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise Unusable(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError):
        raise Unusable(f"{path} is not JSON: take what penstock-relay agent heads --json prints.") from None
    return [_read_head(each, path.name) for each in (found if isinstance(found, list) else [found])]


def _read_head(said: object, name: str) -> Head:
    if isinstance(said, dict):
        key, signature = _bytes(said.get("key"), 32), _bytes(said.get("signature"), 64)
        n, hash, at = said.get("n"), said.get("hash"), said.get("at")
        if (
            key is not None
            and signature is not None
            and isinstance(n, int)
            and 0 <= n < 1 << 53
            and isinstance(hash, str)
            and re.fullmatch("[0-9a-f]{64}", hash)
            and isinstance(at, str)
        ):
            try:
                moment = datetime.fromisoformat(at)
                at_ms = (moment - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(milliseconds=1)  # noqa: UP017 - older Pythons
                if not _is_moment(at_ms):
                    raise ValueError
                return Head(key, n, bytes.fromhex(hash), at_ms, signature, name)
            except (TypeError, ValueError):
                pass
    raise Unusable(f"{name} holds no head: take what penstock-relay agent heads --json prints.")


def _due(n: int, number: int, begins: bool) -> int:
    """Which record should stand where this one does."""
    return 1 if begins and number == 1 else n


def _is_moment(at_ms: int) -> bool:
    return 0 <= at_ms <= MAX_AT_MS


def _members(line: bytes, n: int) -> dict[str, object]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _Wrong("this is no record", n)
    return found


def _bytes(text: object, size: int) -> bytes | None:
    """base64url without padding."""
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        return None
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None
    return data if len(data) == size else None


def _file(number: int) -> str:
    return f"{number:08d}.jsonl"


def _moment(at_ms: int) -> str:
    at = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=at_ms)  # noqa: UP017 - older Pythons
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# -- Ed25519 (RFC 8032, section 5.1), verification only: slow, and nothing here is secret ------------------

_P = 2**255 - 19
_Q = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)
_Point = tuple[int, int, int, int]


def _add(a: _Point, b: _Point) -> _Point:
    e = (a[1] - a[0]) * (b[1] - b[0]) % _P
    f = (a[1] + a[0]) * (b[1] + b[0]) % _P
    g = 2 * a[3] * b[3] * _D % _P
    h = 2 * a[2] * b[2] % _P
    i, j, k, m = f - e, h - g, h + g, f + e
    return (i * j % _P, k * m % _P, j * k % _P, i * m % _P)


def _times(scalar: int, point: _Point) -> _Point:
    total = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            total = _add(total, point)
        point = _add(point, point)
        scalar >>= 1
    return total


def _same(a: _Point, b: _Point) -> bool:
    return (a[0] * b[2] - b[0] * a[2]) % _P == 0 and (a[1] * b[2] - b[1] * a[2]) % _P == 0


def _x(y: int, sign: int) -> int | None:
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    if square == 0:
        return None if sign else 0
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT % _P
    if (x * x - square) % _P:
        return None
    return _P - x if x & 1 != sign else x


def _point(data: bytes) -> _Point | None:
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    x = _x(y, sign)
    return None if x is None else (x, y, 1, x * y % _P)


_BASE_Y = 4 * pow(5, _P - 2, _P) % _P
_BASE_X = _x(_BASE_Y, 0) or 0
_BASE: _Point = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % _P)


def check_signature(key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the holder of this Ed25519 key has signed this message."""
    if len(key) != 32 or len(signature) != 64:
        return False
    a, r, s = _point(key), _point(signature[:32]), int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= _Q:
        return False
    h = int.from_bytes(sha512(signature[:32] + key + message).digest(), "little") % _Q
    return _same(_times(s, _BASE), _add(r, _times(h, a)))


# -- the program --------------------------------------------------------------------------------------------


def words(result: Result, seconds: float) -> list[str]:
    """The result for people, a line each."""
    said = []
    if result.bad is not None:
        bad = result.bad
        where = ", ".join(
            part
            for part in (bad.file, f"line {bad.line}" if bad.line else "", f"record {bad.n}" if bad.n else "")
            if part
        )
        said.append(f"BAD: {where}: {bad.what}." if where else f"BAD: {bad.what}.")
        if result.last:
            said.append(f"Good up to record {result.last}; nothing after it was looked at.")
    else:
        files = "1 file" if result.segments == 1 else f"{result.segments} files"
        speed = result.bytes / (1 << 20) / max(seconds, 1e-9)
        said.append(
            f"GOOD: records {result.first} to {result.last} of the agent {result.agent} of the site "
            f"{result.site}, {files}, {result.bytes / (1 << 20):.1f} MiB, {speed:.0f} MiB/s."
        )
        said.append(
            f"Signed up to record {result.signed} at {result.signed_at} "
            f"({'1 head' if result.heads == 1 else f'{result.heads} heads'})."
            if result.heads
            else "Nothing of it is signed yet."
        )
        said += [f"Goes on from {each}." for each in result.compared]
        if not result.compared:
            said.append(
                "Not compared with a head from elsewhere: whether records at the end are missing, nobody can "
                "tell from the ledger alone. Give the relay's with --head."
            )
        said.append(f"Key: {result.key}{_whose(result)}")
    return [_plain(line) for line in said + [f"Note: {each}" for each in result.notes]]


def _plain(line: str) -> str:
    """What stands in a ledger was perhaps put there for this terminal."""
    return "".join(c if c.isprintable() else "?" for c in line)


def _whose(result: Result) -> str:
    if result.compared or result.expected:
        return ""
    return " (the ledger's own word: compare it with the one that penstock-agent status showed you)"


def as_json(result: Result) -> dict[str, object]:
    return {"good": result.good, **asdict(result)}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Verifies a ledger of a Penstock agent, offline.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="with 00000001.jsonl and so on")
    parser.add_argument(
        "--head", type=Path, action="append", default=[], metavar="FILE", help="a head, as JSON"
    )
    parser.add_argument("--key", help="the ledger's public key in base64url, as it was told to you")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)

    def progress(done: int, total: int) -> None:
        sys.stderr.write(f"{done >> 20} of {total >> 20} MiB\n")

    begun = time.monotonic()
    try:
        key = None if given.key is None else read_key(given.key)
        heads = [head for path in given.head for head in read_heads(path)]
        result = verify(given.folder, heads, key, progress=progress)
    except Unusable as error:
        sys.stderr.write((json.dumps({"error": str(error)}) if given.json else str(error)) + "\n")
        return 2
    if given.json:
        sys.stdout.write(json.dumps(as_json(result), indent=2) + "\n")
    else:
        sys.stdout.write("\n".join(words(result, time.monotonic() - begun)) + "\n")
    return 0 if result.good else 1


if __name__ == "__main__":
    sys.exit(main())
