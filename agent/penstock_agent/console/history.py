"""One reading of the ledger for a page: the newest records asked for, and what went on over time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from penstock_agent.ledger.reading import NOBODY, Record
from penstock_agent.ledger.report import MAX_EXCHANGES, other_of, tool_of
from penstock_agent.ledger.showing import Filter

SHOWN: Final = 200
"""Records of a page."""
STEPS: Final = 30
"""Parts into which the time is divided."""
MAX_NAMES: Final = 2000
"""People, and tools, that are counted by themselves."""
OTHERS: Final = "others"


@dataclass(slots=True)
class Line:
    """Somebody, or something, over the time."""

    name: str
    calls: list[int]
    bytes: list[int]


class Lines:
    """Those of all people, or of all tools."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}

    def of(self, name: str) -> Line:
        if name not in self._lines and len(self._lines) >= MAX_NAMES:
            name = OTHERS
        return self._lines.setdefault(name, Line(name, [0] * STEPS, [0] * STEPS))

    def most(self, number: int, *, bytes: bool) -> list[Line]:
        """The ``number`` largest, largest first, and all others as one."""

        def total(line: Line) -> int:
            return sum(line.bytes if bytes else line.calls)

        found = sorted((each for each in self._lines.values() if total(each)), key=total, reverse=True)
        if len(found) <= number:
            return found
        rest = Line(OTHERS, [0] * STEPS, [0] * STEPS)
        for each in found[number:]:
            for step in range(STEPS):
                rest.calls[step] += each.calls[step]
                rest.bytes[step] += each.bytes[step]
        return [*found[:number], rest]


@dataclass(slots=True)
class History:
    begins: float
    ends: float
    matched: int = 0
    latest: deque[Record] = field(default_factory=lambda: deque(maxlen=SHOWN))
    people: Lines = field(default_factory=Lines)
    tools: Lines = field(default_factory=Lines)


def history(records: Iterable[Record], wanted: Filter, begins: float, ends: float) -> History:
    """Times are seconds since 1970."""
    found = History(begins, ends)
    tools: dict[str, str] = {}
    for each in records:
        if not wanted.takes(each):
            continue
        found.matched += 1
        found.latest.append(each)
        if each.kind == "decision":
            tool = tool_of(each)
            tools[each.text("exchange")] = tool
            if len(tools) > MAX_EXCHANGES:
                del tools[next(iter(tools))]
            step = _step(each, found)
            found.people.of(_person(each)).calls[step] += 1
            found.tools.of(tool).calls[step] += 1
        elif each.kind == "sent":
            exchange = each.text("answers") or each.text("exchange")
            count, step = each.number("bytes"), _step(each, found)
            found.people.of(_person(each)).bytes[step] += count
            found.tools.of(tools.get(exchange, other_of(each))).bytes[step] += count
    return found


def _person(each: Record) -> str:
    return "(unknown)" if each.who is NOBODY else each.who.person


def _step(each: Record, found: History) -> int:
    try:
        at = datetime.fromisoformat(each.at).timestamp()
    except ValueError:
        return 0
    part = (at - found.begins) / max(1.0, found.ends - found.begins)
    return max(0, min(STEPS - 1, int(part * STEPS)))
