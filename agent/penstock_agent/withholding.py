"""What the running agent does about definitions that are not as approved: keeps them, says so, has them
approved.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from penstock import log
from penstock.names import WHOLE_SITE
from penstock_agent import pinning
from penstock_agent.catalogue.offer import Catalogue, CatalogueError
from penstock_agent.config import Settings
from penstock_agent.control import Args, Peer
from penstock_agent.exposing.reviewing import Review, review
from penstock_agent.gate.definitions import Definitions
from penstock_agent.gate.expose import Expose, Item
from penstock_agent.gate.pins import Outdated, Pinned
from penstock_agent.ledger.entries import CannotRecord, Event, Ledger
from penstock_agent.problem import Exit, Problem

NAMED: Final = 20
"""Items that an event names; it says how many there are."""

_log = log.get(__name__)


class Withholding:
    """One per agent. Whoever owns it gives ``read``, ``told`` and ``status`` what they are for."""

    def __init__(
        self, settings: Settings, ledger: Ledger, announce: Callable[[str, Mapping[str, object]], None]
    ) -> None:
        """``announce`` tells the site's own program: the name of the event, and what it is about."""
        self.definitions = Definitions(time.time, self._news)
        self.told: Callable[[frozenset[str]], None] = lambda servers: None
        """Open sessions of these servers are to hear that their lists have changed."""
        self.status: Callable[[], None] = lambda: None
        """What ``summary`` says has changed."""
        self.read: Callable[[str], Awaitable[Catalogue]] | None = None
        """What a server offers now."""
        self._ledger = ledger
        self._announce = announce
        self._exposed: dict[str, Expose] = {}
        self._versions: dict[str, str] = {}
        self._announced: dict[str, dict[str, str]] = {}
        self._new: set[str] = set()
        self._by_uid = -1
        self._settings = settings
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """The configuration was read, and what is kept is read again."""
        self.settle()
        before = self.definitions.overrides
        self._settings = settings
        self._exposed = {name: Expose.parse(one.expose) for name, one in settings.servers.items()}
        kept = pinning.load_all(settings.state_dir, settings.servers)
        self.definitions.use(kept, pinning.overrides(settings.servers))
        self._versions = {name: self.definitions.version(name) for name in kept}
        for server, why in self.definitions.broken().items():
            _log.error("approved_definitions_not_read", server=server, why=why)
        self._announced = {
            name: found for name in kept if (found := self.definitions.withheld(name, self._shows(name)))
        }
        other = self.definitions.overrides
        changed = {name for name in {*before, *other} if before.get(name) != other.get(name)}
        if changed:
            self.told(frozenset({*changed, WHOLE_SITE}))
        self.status()

    @property
    def withheld(self) -> dict[str, dict[str, str]]:
        """What is exposed and withheld, by server: keys, and whether it is changed or new."""
        return self._announced

    @property
    def count(self) -> int:
        """How many are exposed and withheld."""
        return sum(len(found) for found in self._announced.values())

    @property
    def summary(self) -> str:
        """For one line of status; empty when nothing is withheld."""
        broken = self.definitions.broken()
        parts = [f"{self.count} definitions withheld (penstock-agent tools review)"] if self.count else []
        parts += [f"{name}: what was approved cannot be read" for name in broken]
        return "; ".join(parts)

    def _shows(self, server: str) -> Callable[[Item, str], bool]:
        exposed = self._exposed.get(server, Expose())
        return exposed.shows

    def _news(self, server: str) -> None:
        """Something of it is to be kept. What comes of one list, or of one reading, is told together."""
        if not self._new:
            asyncio.get_running_loop().call_soon(self.settle)
        self._new.add(server)

    def settle(self) -> None:
        """Keep what is new, and say it."""
        new, self._new = self._new, set()
        by_uid, self._by_uid = self._by_uid, -1
        shown: set[str] = set()
        for server in sorted(new):
            kept = self.definitions.kept(server)
            if isinstance(kept, Pinned):
                shown |= self._settled(server, kept, by_uid)
        if shown:
            self.told(frozenset({*shown, WHOLE_SITE}))
            self.status()

    def _settled(self, server: str, kept: Pinned, by_uid: int) -> set[str]:
        try:
            pinning.save(self._settings.state_dir, server, kept)
        except Problem as problem:
            _log.error("approved_definitions_not_kept", server=server, why=str(problem))
        before, version = self._versions.get(server, ""), kept.approved.version
        self._versions[server] = version
        if version != before:
            what = "approved" if before else "pinned"
            count = len(kept.approved.items)
            _log.info(what, server=server, items=count, version=version, by_uid=by_uid)
            self._record(what, server, {"items": count, "version": version}, by_uid)
        old = self._announced.get(server, {})
        now = self.definitions.withheld(server, self._shows(server))
        self._announced.pop(server, None)
        if now:
            self._announced[server] = now
        if fresh := {key: why for key, why in now.items() if key not in old}:
            names = list(fresh)[:NAMED]
            _log.warning("withheld", server=server, items=names, count=len(fresh))
            self._record("withheld", server, {"items": len(fresh), "names": ", ".join(names)[:1000]})
            items = [{"item": name, "why": fresh[name]} for name in names]
            self._announce("withheld", {"server": server, "count": len(fresh), "items": items})
        return {server} if now.keys() != old.keys() or (version != before and before) else set()

    def _record(self, what: str, server: str, about: dict[str, str | int], by_uid: int = -1) -> None:
        try:
            self._ledger.record(Event(what, by_uid, {"server": server, **about}))
        except CannotRecord:
            _log.error("event_not_recorded", what=what, server=server)

    # The control socket.

    async def review(self, peer: Peer, args: Args) -> Args:
        """What waits of a server, after it was asked what it offers now."""
        server = self._server(args)
        return msgspec.to_builtins(await self._review(server))  # type: ignore[no-any-return]  # a dict

    async def approve(self, peer: Peer, args: Args) -> Args:
        """Definitions by their digests; ``afresh`` is everything that the server offers now."""
        server = self._server(args)
        self.settle()  # what was seen before is nobody's approval
        if args.get("afresh") is True:
            catalogue = await self._ask(server)
            self._by_uid = peer.uid
            self.definitions.renew(server, catalogue.definitions, catalogue.instructions, peer.uid)
        else:
            items = args.get("items")
            wanted = {str(key): str(one) for key, one in items.items()} if isinstance(items, dict) else {}
            try:
                self.definitions.approve(server, wanted, peer.uid)
            except Outdated:
                raise Problem(
                    f"What {server} offers has changed once more since it was shown; nothing was approved. "
                    f"Look again: penstock-agent tools review {server}"
                ) from None
            self._by_uid = peer.uid
        self.settle()
        return msgspec.to_builtins(self._found(server))  # type: ignore[no-any-return]  # a dict

    def _server(self, args: Args) -> str:
        server = args.get("server")
        if not isinstance(server, str):
            raise Problem("Say which server.", Exit.USAGE)
        self._settings.server(server)
        return server

    async def _ask(self, server: str) -> Catalogue:
        if self.read is None:
            raise Problem("The agent is starting. Try again in a moment.")
        return await self.read(server)

    async def _review(self, server: str) -> Review:
        try:
            await self._ask(server)
        except CatalogueError as error:
            return msgspec.structs.replace(self._found(server), problem=str(error))
        return self._found(server)

    def _found(self, server: str) -> Review:
        if (why := self.definitions.broken().get(server)) is not None:
            return Review(server, broken=why)
        kept = {name: self.definitions.kept(name) for name in self._settings.servers}
        good = {name: one for name, one in kept.items() if isinstance(one, Pinned)}
        if server not in good:
            return Review(server)
        return review(
            server, good, lambda name, item, text: self._shows(name)(item, text), self.definitions.overrides
        )
