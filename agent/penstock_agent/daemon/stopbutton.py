"""The stop button of a running agent: its verbs, and what is stopped now."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from penstock import log
from penstock_agent import control
from penstock_agent.control import Args, Handler, Peer
from penstock_agent.gate.pause import NOT_WHOLE, TOO_MANY, Entry, Paused, TooMany
from penstock_agent.ledger.entries import Event
from penstock_agent.problem import Exit, Problem

_log = log.get(__name__)


class StopButton:
    """One per agent."""

    def __init__(
        self,
        paused: Paused,
        save: Callable[[Paused], None],
        use: Callable[[Paused], int],
        note: Callable[[Event], None],
    ) -> None:
        """``use``: that is in force from now on; returns how much it ends. ``save`` keeps it; raises
        Problem. ``note``: the ledger, which must not keep the button from working.
        """
        self.paused = paused
        self._save = save
        self._use = use
        self._note = note

    @property
    def handlers(self) -> dict[str, Handler]:
        """The verbs of the control socket."""
        return {"pause": self._pause, "resume": self._resume}

    def found(self) -> None:
        """Note what is stopped since an earlier run."""
        for entry in self.paused.entries:
            about: dict[str, str | int] = {"what": entry.kind.value, "name": entry.name}
            self._note(Event("is_paused", entry.by_uid, {**about, "since": int(entry.since)}))

    async def _pause(self, peer: Peer, args: Args) -> Args:
        entry = _entry(args, peer)
        try:
            return self._now(self.paused.with_(entry), "paused", entry, peer)
        except TooMany:
            raise Problem(TOO_MANY) from None

    async def _resume(self, peer: Peer, args: Args) -> Args:
        entry = _entry(args, peer)
        return self._now(self.paused.without(entry.kind, entry.name), "resumed", entry, peer)

    def _now(self, paused: Paused, what: str, entry: Entry, peer: Peer) -> Args:
        """First in force, which takes no disk, then kept: a full one must not keep the stop button from
        working, nor what was not kept from being kept by the next try.
        """
        changed, self.paused = paused != self.paused, paused
        ended = self._use(paused)
        if changed:
            _log.warning(what, kind=entry.kind.value, name=entry.name, by_uid=peer.uid, ended=ended)
            about: dict[str, str | int] = {"what": entry.kind.value, "name": entry.name, "ended": ended}
            self._note(Event(what, peer.uid, about))
        self._save(paused)
        answer = control.Pause(changed, ended, list(paused.entries))
        return msgspec.to_builtins(answer)  # type: ignore[no-any-return]  # a Struct becomes a dict


def _entry(args: Args, peer: Peer) -> Entry:
    """Raises Problem."""
    try:
        given = msgspec.convert(dict(args), Entry)
    except msgspec.ValidationError:
        raise Problem("Say what: everything, a server or a caller.", Exit.USAGE) from None
    if not given.whole:
        raise Problem(NOT_WHOLE, Exit.USAGE)
    return Entry(given.kind, given.name, time.time(), peer.uid)
