"""What each page of the console shows, and what its buttons do: through the control socket, whose peer this
process is, so that the ledger names whoever runs the console.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Final

from penstock_agent import control, pinning, sizes
from penstock_agent.console.charts import COLOURS, bars
from penstock_agent.console.facts import Source
from penstock_agent.console.history import STEPS, History, Line, history
from penstock_agent.console.pages import seen
from penstock_agent.console.waiting import waiting
from penstock_agent.control import pausing
from penstock_agent.exposing.differences import UNSEEN, differences
from penstock_agent.gate import pins
from penstock_agent.gate.expose import Expose
from penstock_agent.gate.pause import NOT_WHOLE, Entry, Kind
from penstock_agent.gate.pins import Pinned
from penstock_agent.ledger import checking, page
from penstock_agent.ledger import report as reports
from penstock_agent.ledger.moments import utc
from penstock_agent.ledger.reading import Record, read
from penstock_agent.ledger.segments import FOLDER
from penstock_agent.ledger.showing import Filter, line
from penstock_agent.ledger.verify_main import Result
from penstock_agent.problem import Exit, Problem

Values = dict[str, object]
"""What a template is given."""

PERIODS: Final = {
    "1h": ("the last hour", 3600.0),
    "24h": ("the last day", 86_400.0),
    "7d": ("the last week", 604_800.0),
    "30d": ("the last 30 days", 2_592_000.0),
}
DEFAULT: Final = "24h"
TITLE: Final = "What left this site"


class Ending(Exception):
    """The console ends, so nothing more is read."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the page of the ledger is asked for."""

    since: str = DEFAULT
    person: str = ""
    server: str = ""
    tool: str = ""
    denied: bool = False

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Asked:
        since = query.get("since", DEFAULT)
        person, server, tool = (query.get(name, "").strip()[:200] for name in ("person", "server", "tool"))
        return cls(since if since in PERIODS else DEFAULT, person, server, tool, query.get("denied") == "1")


class Views:
    """One per console."""

    def __init__(self, source: Source, clock: Callable[[], float] = time.time) -> None:
        self._source = source
        self._clock = clock
        self._folder = source.settings.state_dir / FOLDER
        self._reading = asyncio.Lock()
        self._ending = False
        self.verifying = False
        self.verified: tuple[bool, str] | None = None
        """What the last verification found, in words."""

    def end(self) -> None:
        """Whatever is being read ends soon."""
        self._ending = True

    # -- pages

    async def overview(self) -> Values:
        return {"facts": await self._source.look()}

    async def tools(self) -> Values:
        try:
            return {"status": await control.status(self._source.path), "problem": ""}
        except control.ControlError as error:
            return {"status": None, "problem": str(error)}

    async def server(self, name: str) -> Values:
        """Raises Problem."""
        status = await control.status(self._source.path)
        found = next((one for one in status.servers if one.name == name), None)
        if found is None:
            raise Problem("The running agent has no server of this name.", Exit.USAGE)
        review = await control.review(self._source.path, name)
        changes = [(one, differences(one.before, one.after)) for one in review.changes]
        exposed = self._exposed(name, Expose.parse(found.expose), {one.key for one in review.changes})
        return {"review": review, "changes": changes, "exposed": exposed, "unseen": UNSEEN}

    def _exposed(self, name: str, expose: Expose, waiting: set[str]) -> list[str]:
        kept = pinning.load(self._source.settings.state_dir, name)
        if not isinstance(kept, Pinned):
            return []
        named = {key: pins.item_of(key) for key in kept.approved.items if key not in waiting}
        return [key for key, item in named.items() if item is not None and expose.shows(*item)]

    async def approvals(self, id: str = "") -> Values:
        try:
            requests = (await control.approvals(self._source.path, id)).requests
        except control.ControlError as error:
            if id:
                raise
            return {"problem": str(error), "requests": [], "waiting": 0, "whole": False, "now": self._clock()}
        return {
            "problem": "",
            "requests": [waiting(one, bool(id)) for one in requests],
            "waiting": sum(1 for one in requests if one.state == "waiting"),
            "whole": bool(id),
            "now": self._clock(),
        }

    async def ledger(self, asked: Asked) -> Values:
        wanted = Filter(asked.person or None, asked.tool or None, asked.server or None, denied=asked.denied)
        ends = self._clock()
        begins = ends - PERIODS[asked.since][1]
        values: Values = {
            "asked": asked,
            "periods": {key: text for key, (text, _) in PERIODS.items()},
            "verifying": self.verifying,
            "verified": self.verified,
            "problem": "",
        }
        try:
            async with self._reading:  # one at a time: each may read much
                found = await asyncio.to_thread(lambda: history(self._records(begins), wanted, begins, ends))
        except Problem as problem:
            return {**values, "problem": str(problem)}
        return {
            **values,
            "begins": begins,
            "ends": ends,
            "matched": found.matched,
            "lines": [line(each) for each in reversed(found.latest)],
            "charts": charts(found),
            "step": (ends - begins) / STEPS,
        }

    async def report(self, since: str) -> Values:
        try:
            found, sentences, _ = await self._reported(since)
        except Problem as problem:
            return {"problem": str(problem)}
        return {
            "problem": "",
            "since": since,
            "sentences": sentences,
            "heads": page.HEADS,
            "rows": [page.cells(row, checking.name_of) for row in found.rows],
            "happenings": found.happenings,
            "more": found.more,
        }

    async def report_file(self, since: str) -> str:
        """A page by itself. Raises Problem."""
        found, sentences, good = await self._reported(since)
        return page.html(found, TITLE, sentences, good, checking.name_of)

    async def _reported(self, since: str) -> tuple[reports.Report, list[str], bool]:
        ends = self._clock()
        begins = ends - PERIODS[since if since in PERIODS else DEFAULT][1]
        async with self._reading:
            found = await asyncio.to_thread(lambda: reports.report(self._records(begins)))
        good, verified = self.verified or (True, checking.words(None))
        return found, page.summary(found, utc(begins), utc(ends), verified), good

    def _records(self, begins: float) -> Iterator[Record]:
        for each in read(self._folder, begins, inf):
            if self._ending:
                raise Ending
            yield each

    # -- what buttons do; each returns words, and raises Problem

    async def act(self, action: str, form: Mapping[str, str]) -> str:
        path = self._source.path
        if action in ("approve", "deny"):
            asked = await control.approve(path, form.get("id", ""), action == "approve")
            what = f"{asked.item} of {asked.server or 'the site'}"
            if action == "deny":
                return f"Denied: {what}."
            return f"Let out, once: the {what}." if asked.answer_bytes else f"Approved, once: {what}."
        if action in ("pause", "resume"):
            entry = entry_of(form)
            settings, mistake = self._source.settings, self._source.mistake
            done, running = await pausing.change(settings, action, entry.kind, entry.name, mistake)
            what, later = entry.what[0].upper() + entry.what[1:], "" if running else f" {pausing.NEXT_TIME}"
            if action == "resume":
                return f"{what} {'goes on' if done.changed else 'was not paused'}.{later}"
            ended = f" {done.ended} sessions and requests were ended." if done.ended else ""
            return f"{what} is paused{'' if done.changed else ' already'}.{ended}{later}"
        if action == "pin":
            server, key = form.get("server", ""), form.get("key", "")
            await control.pin(path, server, {key: form.get("digest", "")})
            return f"Approved of {server}: {key}."
        raise Problem("There is no such button.", Exit.USAGE)

    async def verify(self) -> None:
        """Takes a while; ``verified`` says what came of it."""
        if self.verifying:
            return
        self.verifying = True
        try:
            result = await asyncio.to_thread(self._verify)
            self.verified = result.good, f"{utc(self._clock())}: {checking.words(result)}"
        except Problem as problem:
            self.verified = False, str(problem)
        except Ending:
            return
        finally:
            self.verifying = False

    def _verify(self) -> Result:
        def progress(done: int, total: int) -> None:
            if self._ending:
                raise Ending

        return checking.verified(self._source.settings.state_dir, self._folder, [], None, progress)


def entry_of(form: Mapping[str, str]) -> Entry:
    """What is to be stopped. Raises Problem."""
    try:
        entry = Entry(Kind(form.get("kind", "")), form.get("name", ""))
    except ValueError:
        raise Problem("Say what: everything, a server or a caller.", Exit.USAGE) from None
    if not entry.whole:
        raise Problem(NOT_WHOLE, Exit.USAGE)
    return entry


def charts(found: History) -> list[Values]:
    """Requests and bytes, by person and by tool."""
    made: list[Values] = []
    for by, lines in (("person", found.people), ("tool", found.tools)):
        for what, in_bytes in (("Requests", False), ("Bytes that left", True)):
            title = f"{what}, by {by}"
            most = lines.most(COLOURS - 1, bytes=in_bytes)
            made.append(_chart(title, most, in_bytes))
    return made


def _chart(title: str, most: list[Line], in_bytes: bool) -> Values:
    shown = sizes.shown if in_bytes else str
    series = [(seen(each.name), each.bytes if in_bytes else each.calls) for each in most]
    legend = [
        {"name": each.name, "colour": min(number, COLOURS - 1), "total": shown(sum(values))}
        for number, (each, (_, values)) in enumerate(zip(most, series, strict=True))
    ]
    highest = max((sum(values[step] for _, values in series) for step in range(STEPS)), default=0)
    return {"title": title, "svg": bars(title, series, shown), "legend": legend, "highest": shown(highest)}
