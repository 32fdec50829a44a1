"""Compares what a link has carried with the agent's ledger: each byte stands in one record, with its hash."""

from __future__ import annotations

import base64
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from penstock.tunnel.frames import (
    Attach,
    Data,
    Done,
    DoneReason,
    EndReason,
    Frame,
    Head,
    Ledger,
    Method,
    Notice,
    Open,
)
from penstock.tunnel.frames import End as EndFrame
from penstock_agent.ledger.reading import Record, read
from penstock_agent.ledger.recorded import FORM


class Uncovered(AssertionError):
    """A byte on the wire that the ledger does not have, or has otherwise."""


class Undecided(AssertionError):
    """A request of which the ledger does not say what was decided."""


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
    statuses: dict[str, int] = field(default_factory=dict)
    failed: dict[str, EndReason] = field(default_factory=dict)
    """Exchanges that the agent has ended before their answer was whole."""
    asked: dict[str, bytearray] = field(default_factory=dict)
    """What the relay sent: the body of each POST."""
    opened: set[str] = field(default_factory=set)
    given_up: set[str] = field(default_factory=set)
    """Exchanges whose callers had enough, as the relay said."""
    link_of: dict[str, int] = field(default_factory=dict)
    """The last link that each exchange was on."""

    def link(self, number: int, sent: Iterable[Frame], told: Iterable[Frame]) -> None:
        """All that the agent, and the relay, said on one link, in the order of the links."""
        for frame in told:
            match frame:
                case Open():
                    key = str(frame.key)
                    self.opened.add(key)
                    self.link_of[key] = number
                    if frame.method is Method.POST:
                        self.asked[key] = bytearray(frame.data)
                case Attach():
                    self.link_of[str(frame.key)] = number
                case Data(key=of) if (body := self.asked.get(str(of))) is not None:
                    body[frame.offset :] = frame.data
                case Done() if frame.reason is not DoneReason.OK:
                    self.given_up.add(str(frame.key))
                case _:
                    pass
        for frame in sent:
            self.saw(frame)

    def broken_off(self, links: Mapping[int, str]) -> dict[str, str]:
        """Why exchanges ended early whose answer is not whole. `links`: those that are known to have ended
        by force, and how.
        """
        why = {key: links[number] for key, number in self.link_of.items() if number in links}
        why |= {key: f"its agent said {reason.name}" for key, reason in self.failed.items()}
        why |= dict.fromkeys(self.given_up, "its caller gave up")
        return {key: reason for key, reason in why.items() if key not in self.ended}

    def saw(self, frame: Frame) -> None:
        match frame:
            case Head():
                key = str(frame.key)
                if not FORM.issuperset(frame.headers):
                    said = "".join(f"{name}: {value}\n" for name, value in frame.headers).encode()
                    self.said[key].add((frame.status, sha256(said).hexdigest()))
                self.statuses[key] = frame.status
                self._piece(key, 0, frame.data, frame.end)
            case Data():
                self._piece(str(frame.key), frame.offset, frame.data, frame.end)
            case EndFrame(reason=EndReason.OK):
                self.ended.add(str(frame.key))
            case EndFrame():
                self.failed[str(frame.key)] = frame.reason
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
    unproven: int = 0
    """Bytes that were seen, but not all of their record, so that its hash could not be compared."""
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
    only those may have records of more than was seen. None: any. But where the whole answer was seen, no
    exchange may.
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
                result.unproven += max(0, len(body) - offset)
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
    known = (sent.keys() if cut is None else set(cut)) - wire.ended
    if surprising := result.short - known:
        raise Uncovered(f"records of bytes that did not leave, and nothing was cut: {sorted(surprising)[:5]}")
    return result


def is_request(body: bytes) -> tuple[str, str] | None:
    """Method and id of a request, the id as JSON; None for whatever needs no answer."""
    try:
        message = json.loads(body)
        return message["method"], json.dumps(message["id"])
    except (ValueError, KeyError, TypeError):
        return None


def decided(wire: Wire, found: Iterable[Record]) -> int:
    """How many requests were answered. Raises Undecided unless each of them has one decision, about what was
    asked, from before the first byte of its answer; and what is no request, or was not asked, none.
    """
    decisions: dict[str, tuple[str, str]] = {}
    sent: set[str] = set()
    for each in found:
        key = each.text("exchange")
        if each.kind == "sent":
            sent.add(key)
        elif each.kind == "decision":
            if key in decisions:
                raise Undecided(f"{key}: two decisions about one request")
            if key in sent:
                raise Undecided(f"{key}: bytes left, and then it was decided")
            decisions[key] = each.text("method"), each.text("id")
    answered, missing = 0, Counter[str]()
    for key, body in wire.asked.items():
        asked = is_request(bytes(body))
        said = decisions.pop(key, None)
        if said is not None and said != asked:
            raise Undecided(f"{key}: the decision is about something else")
        if asked is not None and wire.statuses.get(key) == 200:
            answered += 1
            if said is None:
                missing[asked[0]] += 1
    if decisions:
        raise Undecided(f"decisions about what nobody asked: {sorted(decisions)[:5]}")
    if missing:
        raise Undecided(f"answered, and no decision: {dict(missing)}")
    return answered


def kinds(found: Iterable[Record]) -> Counter[str]:
    """How many of each; events by what they are."""
    return Counter(f"event {each.text('what')}" if each.kind == "event" else each.kind for each in found)
