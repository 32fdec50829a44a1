"""The ledger towards the relay: which head it is told, and what is made of the one that it has kept.

The relay keeps the newest head of each agent's ledger and gives it back on every link. A ledger that does not
go on from there was cut short, or is an older copy, or was written anew: that is a record, a warning in the
status, and found by ``ledger verify``, for which the head is kept in the state folder.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import msgspec

from penstock import ledgerhead, log
from penstock.ledgerhead import LedgerHead
from penstock.names import AgentId
from penstock_agent.files import write_atomic
from penstock_agent.ledger import record, segments
from penstock_agent.ledger.entries import CannotRecord, Event
from penstock_agent.ledger.segments import FOLLOWS, KEPT
from penstock_agent.ledger.writer import Writer

_log = log.get(__name__)


class Heads:
    """Nothing here waits; what takes the disk is done by ``tick``."""

    def __init__(self, writer: Writer, state_dir: Path, agent: AgentId) -> None:
        self._writer = writer
        self._agent = agent
        self._folder = state_dir
        self._kept = _number(state_dir / KEPT)
        self._follows = (state_dir / FOLLOWS).exists()
        self._heard: LedgerHead | None = None
        self._compared: set[tuple[int, bytes]] = set()

    async def run(self) -> None:
        """All that the ledger does by itself. Until cancelled."""
        while True:
            await self._writer.tick()
            await self.tick()
            await asyncio.sleep(1.0)

    def current(self) -> LedgerHead | None:
        """The newest signed head that is on the disk."""
        return self._writer.current()

    async def sign(self) -> None:
        """The head of now is the current one, if it can be."""
        with suppress(OSError, CannotRecord):
            self._writer.sign()
            await self._writer.synced()

    def returned(self, head: LedgerHead) -> None:
        """What the relay has kept; its signature is good."""
        self._heard = head

    async def tick(self) -> None:
        """Look at what was returned."""
        head, self._heard = self._heard, None
        if head is None:
            return
        if head.key != self._writer.key:
            await self._follow(head)
            return
        if head.n > self._kept:
            await self._keep(KEPT, head)
            self._kept = head.n
        seen = (head.n, head.hash)
        if seen in self._compared or self._writer.signed(head.n) == head.hash:
            return
        self._compared = {seen}
        if head.n > self._writer.n:
            self._differs("ledger_is_behind", head, "it was cut short, or an older copy was put in its place")
            return
        found: list[bytes | None] = []
        await self._writer.aside(lambda: found.append(segments.hash_at(self._writer.held, head.n)))
        if found and found[0] is not None and found[0] != head.hash:
            self._differs("ledger_differs", head, "it was written anew")

    def _differs(self, what: str, head: LedgerHead, why: str) -> None:
        here = self._writer.n
        _log.error(what, relay=head.n, here=here)
        self._writer.warning = (
            f"The relay has kept the ledger's head at record {head.n}, and this ledger does not go on from "
            f"it: {why}. Run: penstock-agent ledger verify"
        )
        try:
            self._writer.record(Event(what, about={"relay": head.n, "hash": head.hash.hex(), "here": here}))
        except CannotRecord:
            _log.error("event_not_recorded", what=what)

    async def _follow(self, head: LedgerHead) -> None:
        """The relay knows another ledger under this agent's name: that of the agent before it."""
        if self._follows:
            return
        self._follows = True
        said: dict[str, object] = {
            "kind": "follows",
            "key": record.text(head.key),
            "of": head.n,
            "hash": head.hash.hex(),
            "at_ms": head.at_ms,
            "signature": record.text(head.signature),
        }
        try:
            self._writer.say(said)
        except OSError:
            self._follows = False
            return
        await self._keep(FOLLOWS, head)
        _log.info("ledger_follows_another", records=head.n)

    async def _keep(self, name: str, head: LedgerHead) -> None:
        path, data = (
            self._folder / name,
            msgspec.json.encode(ledgerhead.as_json(head, self._agent.site, self._agent.agent)),
        )

        def write() -> None:
            try:
                write_atomic(path, data + b"\n", 0o600)
            except OSError as error:
                _log.warning("ledger_head_not_kept", why=error.strerror)

        await self._writer.aside(write)


def _number(path: Path) -> int:
    try:
        said = msgspec.json.decode(path.read_bytes(), type=dict[str, int | str])
        return int(said["n"])
    except (OSError, ValueError, KeyError):
        return 0
