"""One record, as a line for a terminal; and which records are asked for. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from penstock_agent.ledger.moments import local
from penstock_agent.ledger.reading import NOBODY, Record
from penstock_agent.ledger.report import MAX_EXCHANGES
from penstock_agent.problem import printable

_CHAIN: Final = frozenset({"segment", "who", "head"})
"""What is there for the ledger itself: shown only by export."""


@dataclass(slots=True)
class Filter:
    """None and False ask for nothing in particular."""

    person: str | None = None
    tool: str | None = None
    server: str | None = None
    exchange: str | None = None
    denied: bool = False
    _items: dict[str, str] = field(default_factory=dict)

    def takes(self, each: Record) -> bool:
        """Whether it is shown. Give it all records, in order: what left is about what was asked for."""
        item = each.text("item")
        key = each.text("answers") or each.text("exchange")
        if each.kind == "decision":
            self._items[key] = item
            if len(self._items) > MAX_EXCHANGES:
                del self._items[next(iter(self._items))]
        elif key:
            item = item or self._items.get(key, "")
        if each.kind in _CHAIN:
            return False
        if self.person is not None and not each.who.called(self.person):
            return False
        if self.tool is not None and not _fits(item, self.tool):
            return False
        if self.server is not None and self.server not in (each.text("server"), each.text("of")):
            return False
        if self.exchange is not None and self.exchange not in (each.text("exchange"), each.text("answers")):
            return False
        return not self.denied or (
            (each.kind == "decision" and each.text("verdict") != "allowed") or each.kind == "masked"
        )


def _fits(item: str, pattern: str) -> bool:
    return bool(item) and (fnmatchcase(item, pattern) or fnmatchcase(item.partition(":")[2], pattern))


def line(each: Record) -> str:
    """For people; nothing in it is obeyed by a terminal."""
    who = "" if each.who is NOBODY else each.who.person
    text = f"{local(each.at)}  {each.n:>7}  {each.kind:8}  {_what(each)}"
    if who:
        text += f"  [{who}{', ' + each.who.client if each.who.client else ''}]"
    return printable(text, 1000)


def _what(each: Record) -> str:
    server = each.text("server") or "all together"
    match each.kind:
        case "decision":
            item = each.text("item") or each.text("method")
            approval = f", approval {each.text('approval')}" if each.text("approval") else ""
            return f"{server} {item}: {each.text('verdict')} ({each.text('rule')}{approval})"
        case "sent":
            answers = f", answers {each.text('answers')}" if each.text("answers") else ""
            start = each.number("offset")
            return f"{server}: {each.number('bytes')} bytes from {start} of {each.text('exchange')}{answers}"
        case "unsent":
            return (
                f"{server}: what begins at {each.number('offset')} of {each.text('exchange')} did not leave"
            )
        case "opened":
            headers = each.said.get("headers")
            names = ", ".join(map(str, headers)) if isinstance(headers, list) else ""
            return f"{server}: answer {each.number('status')} with {names} on {each.text('exchange')}"
        case "masked":
            found = each.said.get("found")
            parts = ", ".join(f"{n} {what}" for what, n in found.items()) if isinstance(found, dict) else ""
            return f"{server} {each.text('item')}: {each.text('action')} {parts}"
        case _:
            by = f" by uid {each.said['by_uid']}" if "by_uid" in each.said else ""
            about = each.said.get("about")
            rest = about if isinstance(about, dict) else _others(each)
            words = ", ".join(f"{name} {value}" for name, value in rest.items() if value != "")
            return f"{each.text('what').replace('_', ' ')}{by}{': ' if words else ''}{words}".strip(": ")


def _others(each: Record) -> dict[str, object]:
    known = {"n", "at", "h", "kind", "what", "by_uid", "signature"}
    return {name: value for name, value in each.said.items() if name not in known}
