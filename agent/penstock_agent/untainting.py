"""For whom something sensitive was read, as the site's administrator sees it, and ends it early."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from penstock import log
from penstock_agent import control
from penstock_agent.control import Args, Handler, Peer, TaintedPerson
from penstock_agent.gate.policy.taint import Mark, Marks
from penstock_agent.ledger.entries import CannotRecord, Event, Ledger
from penstock_agent.problem import Exit, Problem, printable

MOST_SHOWN: Final = 1000
"""People in an answer to ``tainted``; those whose time is longest come first."""
MOST_NAMED: Final = 10
"""Issuers in the words to who has named several people at once."""

_log = log.get(__name__)


class Untainting:
    """One per agent. ``now``: seconds since 1970."""

    def __init__(self, marks: Marks, ledger: Ledger, now: Callable[[], float]) -> None:
        self._marks = marks
        self._ledger = ledger
        self._now = now

    @property
    def handlers(self) -> dict[str, Handler]:
        """The verbs of the control socket."""
        return {"tainted": self._list, "untaint": self._end}

    async def _list(self, peer: Peer, args: Args) -> Args:
        marks = sorted(self._marks.held(self._now()), key=lambda mark: mark.until, reverse=True)
        shown = [_shown(mark) for mark in marks[:MOST_SHOWN]]
        answer = control.Tainted(shown, len(marks) - len(shown))
        return msgspec.to_builtins(answer)  # type: ignore[no-any-return]  # a Struct becomes a dict

    async def _end(self, peer: Peer, args: Args) -> Args:
        subject, issuer = args.get("subject"), args.get("issuer", "")
        if not isinstance(subject, str) or not isinstance(issuer, str):
            raise Problem("Say for whom: the subject of a person, and the issuer if need be.", Exit.USAGE)
        mark = self._found(subject, issuer)
        shown = _shown(mark)
        about: dict[str, str | int] = {"subject": shown.subject, "issuer": shown.issuer}
        try:
            # First: what is not on record must not be let go.
            self._ledger.record(Event("untainted", peer.uid, {**about, "server": mark.server}))
        except CannotRecord as e:
            raise Problem(f"The ledger does not take this, so nothing was changed: {e}") from None
        self._marks.end(mark.person)
        _log.warning("untainted", subject=shown.subject, issuer=shown.issuer, by_uid=peer.uid)
        return msgspec.to_builtins(shown)  # type: ignore[no-any-return]  # a Struct becomes a dict

    def _found(self, subject: str, issuer: str) -> Mark:
        """Raises Problem."""
        there = [
            mark
            for mark in self._marks.held(self._now())
            if mark.person[1] == subject and issuer in ("", mark.person[0])
        ]
        if not there:
            raise Problem(
                f"Nothing sensitive was read lately for {printable(subject)}, so nothing was changed. For "
                "whom it was: penstock-agent policy tainted",
                Exit.USAGE,
            )
        if len(there) > 1:
            issuers = ", ".join(printable(mark.person[0]) for mark in there[:MOST_NAMED])
            raise Problem(
                f"{len(there)} people are called {printable(subject)}, so nothing was changed. Say with "
                f"--issuer whose: {issuers}",
                Exit.USAGE,
            )
        return there[0]


def _shown(mark: Mark) -> TaintedPerson:
    issuer, subject = mark.person
    return TaintedPerson(subject, issuer, mark.until, mark.server, mark.client)
