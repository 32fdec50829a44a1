"""Compares what a link has carried with the agent's ledger: each byte stands in one record, with its hash."""

from __future__ import annotations

import base64
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from penstock.tunnel.frames import Data, EndReason, Frame, Head, Ledger, Notice
from penstock.tunnel.frames import End as EndFrame
from penstock_agent.ledger.reading import Record, read
from penstock_agent.ledger.recorded import FORM


class Uncovered(AssertionError):
    """A byte on the wire that the ledger does not have, or has otherwise."""


@dataclass
class Wire:
    """What was seen of the answers on all links, put together. `broken`: bytes that came again, changed."""

    bodies: dict[str, bytearray] = field(default_factory=lambda: defaultdict(bytearray))
    ended: set[str] = field(default_factory=set)
    """Exchanges whose answer is whole."""
    said: dict[str, set[tuple[int, str]]] = field(default_factory=lambda: defaultdict(set))
    """Status, and hash of the headers, of each HEAD that says more than its form."""
    broken: list[str] = field(default_factory=list)
    repeated: int = 0
    """Bytes that came again, after an ATTACH."""
    heads: list[Ledger] = field(default_factory=list)

    def saw(self, frame: Frame) -> None:
        match frame:
            case Head():
                key = str(frame.key)
                if not FORM.issuperset(frame.headers):
                    said = "".join(f"{name}: {value}\n" for name, value in frame.headers).encode()
                    self.said[key].add((frame.status, sha256(said).hexdigest()))
                self._piece(key, 0, frame.data, frame.end)
            case Data():
                self._piece(str(frame.key), frame.offset, frame.data, frame.end)
            case EndFrame(reason=EndReason.OK):
                self.ended.add(str(frame.key))
            case Ledger():
                self.heads.append(frame)
            case _:
                pass

    def _piece(self, key: str, offset: int, data: bytes, end: bool) -> None:
        body = self.bodies[key]
        again = body[offset : offset + len(data)]
        if offset > len(body):
            self.broken.append(f"{key}: a gap before {offset}")
        elif data[: len(again)] != bytes(again):
            self.broken.append(f"{key}: other bytes than before at {offset}")
        self.repeated += len(again)
        body.extend(data[len(again) :])
        if end:
            self.ended.add(key)


@dataclass
class Covered:
    """What the comparison found."""

    exchanges: int = 0
    bytes: int = 0
    records: int = 0
    """Of the kind `sent`."""
    surplus_records: int = 0
    """Those of which not all was seen on the wire."""
    surplus_bytes: int = 0
    short: set[str] = field(default_factory=set)
    """Exchanges that have such records."""


def records(agent_folder: Path) -> list[Record]:
    return list(read(agent_folder / "state" / "ledger"))


def heads(found: Iterable[Record]) -> set[tuple[int, bytes, int, bytes]]:
    """All that LEDGER may say: number, hash, moment and signature of each head that the ledger has itself."""
    return {
        (
            each.number("of"),
            bytes.fromhex(each.text("hash")),
            each.number("at_ms"),
            base64.urlsafe_b64decode(each.text("signature") + "=="),
        )
        for each in found
        if each.kind == "head"
    }


def notices(found: Iterable[Record]) -> list[Notice]:
    """All that NOTICE may say, in order, of a site where nothing is approved: what was withheld stays so."""
    withheld = [0]
    for each in found:
        if each.kind == "event" and each.text("what") == "withheld":
            about = each.said["about"]
            assert isinstance(about, dict)
            withheld.append(withheld[-1] + about["items"])
    return [Notice(count, 0) for count in withheld]


def covered(wire: Wire, found: Iterable[Record], cut: Collection[str] | None) -> Covered:
    """Raises Uncovered. `cut`: the exchanges whose answers are known to have been given up, or broken off;
    only those may have records of more than was seen. None: any that did not end.
    """
    sent: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    opened: dict[str, set[tuple[int, str]]] = defaultdict(set)
    for each in found:
        key = each.text("exchange")
        if each.kind == "sent":
            sent[key].append((each.number("offset"), each.number("bytes"), each.text("hash")))
        elif each.kind == "unsent":
            if not sent[key] or sent[key].pop()[0] != each.number("offset"):
                raise Uncovered(f"{key}: what is taken back was not said")
        elif each.kind == "opened":
            opened[key].add((each.number("status"), each.text("hash")))
    if wire.broken:
        raise Uncovered("; ".join(wire.broken[:5]))
    result = Covered()
    for key, pieces in sent.items():
        body, place = bytes(wire.bodies.get(key, b"")), 0
        for offset, size, digest in pieces:
            if offset != place:  # so each byte stands in one record, and in no two
                raise Uncovered(f"{key}: the record after {place} begins at {offset}")
            place += size
            if place <= len(body) and sha256(body[offset:place]).hexdigest() != digest:
                raise Uncovered(f"{key}: other bytes from {offset} on than the record says")
            result.records += 1
            if place > len(body):
                result.surplus_records += 1
                result.surplus_bytes += place - max(offset, len(body))
                result.short.add(key)
        if place < len(body):
            raise Uncovered(f"{key}: {len(body) - place} bytes from {place} on are in no record")
        result.bytes += len(body)
    for key, seen in wire.bodies.items():
        result.exchanges += 1
        if seen and key not in sent:
            raise Uncovered(f"{key}: {len(seen)} bytes, and no record")
    for key, said in wire.said.items():
        if said != opened[key]:
            raise Uncovered(f"{key}: headers that are in no record")
    known = sent.keys() - wire.ended if cut is None else cut
    if surprising := result.short - set(known):
        raise Uncovered(f"records of bytes that did not leave, and nothing was cut: {sorted(surprising)[:5]}")
    return result


def kinds(found: Iterable[Record]) -> Counter[str]:
    """How many of each; events by what they are."""
    return Counter(f"event {each.text('what')}" if each.kind == "event" else each.kind for each in found)
