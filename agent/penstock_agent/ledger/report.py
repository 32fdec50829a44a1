"""What a ledger says of a time, on one page: who used what, how much left, what was denied. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from penstock_agent.ledger.reading import Record, Who

MAX_EXCHANGES: Final = 100_000
"""Exchanges whose tool is remembered, for what leaves on them."""
MAX_EVENTS: Final = 200
OTHER: Final = "other requests"
"""What uses nothing: greetings, lists, streams."""

_DENIED: Final = frozenset({"denied", "withheld", "over_budget"})
_QUIET: Final = frozenset({"approval_asked"})


@dataclass(slots=True)
class Row:
    """What one person did with one tool through one assistant."""

    person: str
    client: str
    tool: str
    calls: int = 0
    """Requests that were let through."""
    bytes: int = 0
    """Of the answers, as they left."""
    denied: int = 0
    waiting: int = 0
    """Times that a call was answered with "waiting for approval"."""
    failed: int = 0
    """Requests about which nothing could be decided."""
    masked: int = 0
    """What was taken out of answers."""
    approved_by: list[int] = field(default_factory=list)
    """The uids of those who approved a call."""


@dataclass(slots=True)
class Happening:
    """An event, as a person reads it."""

    at: str
    what: str
    by_uid: int
    about: str


@dataclass(slots=True)
class Report:
    rows: list[Row] = field(default_factory=list)
    happenings: list[Happening] = field(default_factory=list)
    more: int = 0
    """Events that are not listed."""
    records: int = 0
    first_at: str = ""
    last_at: str = ""

    @property
    def total(self) -> Row:
        total = Row("", "", "")
        for row in self.rows:
            total.calls += row.calls
            total.bytes += row.bytes
            total.denied += row.denied
            total.waiting += row.waiting
            total.failed += row.failed
            total.masked += row.masked
        return total

    @property
    def people(self) -> int:
        return len({row.person for row in self.rows})


def report(records: Iterable[Record]) -> Report:
    """Counts what there is."""
    counting = _Counting()
    for each in records:
        counting.take(each)
    made = counting.report
    made.rows.sort(key=lambda row: (-row.bytes, -row.calls, row.person, row.client, row.tool))
    return made


class _Counting:
    def __init__(self) -> None:
        self.report = Report()
        self._rows: dict[tuple[str, str, str, str], Row] = {}
        self._tools: dict[str, str] = {}
        self._approvers: dict[str, int] = {}

    def take(self, each: Record) -> None:
        report = self.report
        report.records += 1
        report.first_at = report.first_at or each.at
        report.last_at = each.at
        if each.kind == "decision":
            self._decided(each)
        elif each.kind == "sent":
            exchange = each.text("answers") or each.text("exchange")
            self._row(each.who, self._tools.get(exchange, other_of(each))).bytes += each.number("bytes")
        elif each.kind == "unsent":
            pass  # what was said of it before counts as sent: it is rather too much than too little
        elif each.kind == "masked":
            found = each.said.get("found")
            count = sum(v for v in found.values() if isinstance(v, int)) if isinstance(found, dict) else 0
            self._row(each.who, tool_of(each)).masked += count
        elif each.kind == "event":
            self._happened(each)

    def _decided(self, each: Record) -> None:
        tool, verdict = tool_of(each), each.text("verdict")
        row = self._row(each.who, tool)
        self._tools[each.text("exchange")] = tool
        if len(self._tools) > MAX_EXCHANGES:
            del self._tools[next(iter(self._tools))]
        if verdict == "allowed":
            row.calls += 1
            by = self._approvers.get(each.text("approval"))
            if by is not None and by not in row.approved_by:
                row.approved_by.append(by)
        elif verdict in _DENIED:
            row.denied += 1
        elif verdict == "waiting":
            row.waiting += 1
        else:
            row.failed += 1

    def _happened(self, each: Record) -> None:
        what, by_uid = each.text("what"), int(each.said.get("by_uid", -1))  # type: ignore[call-overload]  # a number
        about = each.said.get("about")
        said = about if isinstance(about, dict) else {}
        if what == "approval_approved":
            self._approvers[str(said.get("request", ""))] = by_uid
        if what in _QUIET:
            return
        if len(self.report.happenings) >= MAX_EVENTS:
            self.report.more += 1
            return
        words = ", ".join(f"{name} {value}" for name, value in said.items() if value != "")
        self.report.happenings.append(Happening(each.at, what.replace("_", " "), by_uid, words))

    def _row(self, who: Who, tool: str) -> Row:
        key = (who.issuer, who.subject, who.client, tool)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = Row(who.person, who.client or "(unknown)", tool)
            self.report.rows.append(row)
        return row


def tool_of(each: Record) -> str:
    """What is used, as people call it."""
    server = each.text("of") or each.text("server")
    item = each.text("item")
    return f"{server}: {item.removeprefix('tool:')}" if item else other_of(each)


def other_of(each: Record) -> str:
    return f"{each.text('server')}: {OTHER}" if each.text("server") else OTHER
