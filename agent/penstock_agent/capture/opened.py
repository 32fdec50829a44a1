"""What was captured, read with the key, and compared with the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from penstock import canonical
from penstock.envelope import member
from penstock_agent.capture.capture import files
from penstock_agent.capture.sealed import Piece, Unreadable, unseal
from penstock_agent.ledger.reading import Record


@dataclass(frozen=True, slots=True)
class Opened:
    """A piece, or (without one) a file that cannot be read and why."""

    file: str
    piece: Piece | None
    data: bytes = field(default=b"", repr=False)
    problem: str = ""


class Found:
    """What a folder holds now. What is added or removed from then on is passed over: so it can be read, then
    the ledger, and then read again to be compared with that.
    """

    def __init__(self, folder: Path) -> None:
        """Raises OSError."""
        self._sizes: dict[Path, int] = {}
        for path in files(folder):
            with suppress(FileNotFoundError):
                self._sizes[path] = path.stat().st_size

    def read(self, key: X25519PrivateKey) -> Iterator[Opened]:
        """All pieces, the oldest first, one at a time. Raises OSError."""
        for path, size in self._sizes.items():
            try:
                file = path.open("rb")
            except FileNotFoundError:
                continue
            with file:
                try:
                    for piece, data in unseal(file, key, size):
                        yield Opened(path.name, piece, data)
                except Unreadable as e:
                    yield Opened(path.name, None, b"", str(e))


class Ledgered:
    """What the ledger says of some exchanges."""

    def __init__(self, records: Iterable[Record], exchanges: frozenset[str]) -> None:
        self._left: dict[tuple[str, int], set[str]] = {}
        self._asked: dict[str, set[str]] = {}
        for each in records:
            exchange = each.text("exchange")
            if exchange not in exchanges:
                continue
            if each.kind == "sent":
                self._left.setdefault((exchange, each.number("offset")), set()).add(each.text("hash"))
            elif each.kind == "decision" and (arguments := each.text("arguments")):
                self._asked.setdefault(exchange, set()).add(arguments)

    def fits(self, piece: Piece, data: bytes) -> bool | None:
        """Whether the ledger has the same hash; None where it has none: what has no arguments, and calls of a
        batch.
        """
        if piece.way == "out":
            return sha256(data).hexdigest() in self._left.get((piece.exchange, piece.offset), ())
        if (hashes := self._asked.get(piece.exchange)) is None:
            return None
        arguments = member(data, "params", "arguments")
        if arguments is None:
            return None
        try:
            return canonical.digest(arguments) in hashes
        except ValueError:
            return None
