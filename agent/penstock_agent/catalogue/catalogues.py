"""What the servers of a running agent offer: asked when somebody needs to know, and kept for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Final, Protocol

from penstock.log import get
from penstock_agent.catalogue.conversation import Conversation, Lines
from penstock_agent.catalogue.mirrored import Mirrored
from penstock_agent.catalogue.offer import Catalogue, CatalogueError
from penstock_agent.children.child import ChildGone, ChildSpec, ChildStartError
from penstock_agent.children.pool import CrashLooping, TooManyChildren
from penstock_agent.gate.definitions import Definitions
from penstock_agent.gate.expose import Item as Kind
from penstock_agent.gate.overrides import Overrides

FRESH_S: Final = 30.0
"""An older catalogue is asked for again. Reading one starts a child: not for every reload of a page."""
PATIENCE_S: Final = 3.5
"""After so long an older catalogue is good enough: whoever asks shows it to a person who waits."""
READ_S: Final = 120.0
"""For all of one reading: a first start may download the server."""

_log = get(__name__)


class OneChild(Lines, Protocol):
    async def stop(self) -> None: ...


class Starter(Protocol):
    """See :class:`penstock_agent.children.pool.Children`, whose errors this raises."""

    async def start(self, spec: ChildSpec, /) -> OneChild: ...


class Catalogues:
    """One per agent. Readings are tasks of ``spawn``: who asked first may go, others still wait for it."""

    def __init__(
        self,
        specs: Mapping[str, ChildSpec],
        children: Starter,
        spawn: Callable[[Coroutine[object, object, None]], asyncio.Task[None]],
        definitions: Definitions | None = None,
    ) -> None:
        """``definitions`` are told what is read."""
        self._definitions = definitions
        self._specs = dict(specs)
        self._overrides = self._told()
        self._children = children
        self._spawn = spawn
        self._kept: dict[str, tuple[float, Catalogue]] = {}
        self._marked: dict[str, frozenset[str]] = {}
        self._contained: dict[str, frozenset[str]] = {}
        self._names: dict[str, dict[Kind, frozenset[str]]] = {}
        self._mirrored: dict[str, dict[str, tuple[Mirrored, ...]]] = {}
        self._reading: dict[str, asyncio.Future[Catalogue]] = {}
        self._changed: set[str] = set()

    def reload(self, specs: Mapping[str, ChildSpec]) -> None:
        """Other servers from now on; what is known of those that changed is forgotten, and of those of which
        the site says something else.
        """
        before, self._overrides = self._overrides, self._told()
        other = {name for name in self._specs if before.get(name) != self._overrides.get(name)}
        for name in other | {name for name, spec in self._specs.items() if specs.get(name) != spec}:
            self._kept.pop(name, None)
            self._marked.pop(name, None)
            self._contained.pop(name, None)
            self._names.pop(name, None)
            self._mirrored.pop(name, None)
            self._reading.pop(name, None)  # it goes on, and keeps nothing
        self._specs = dict(specs)

    def changed(self, server: str) -> None:
        """It says that its tools are others now: who needs to know has it asked again."""
        self._changed.add(server)

    def marked(self, server: str) -> frozenset[str]:
        """Names of the tools that the server marks as read-only; none as long as it was not asked."""
        return self._marked.get(server, frozenset())

    def contained(self, server: str) -> frozenset[str]:
        """Names of the tools that say that they only read, and reach nothing beyond the site."""
        return self._contained.get(server, frozenset())

    def offered(self, server: str, item: Kind) -> frozenset[str] | None:
        """What the server calls its items of this kind; None as long as it was not asked."""
        found = self._names.get(server)
        return None if found is None else found[item]

    def mirrored(self, server: str, tool: str) -> tuple[Mirrored, ...]:
        """The arguments of a tool that callers repeat in headers; none before the server was asked."""
        return self._mirrored.get(server, {}).get(tool, ())

    async def known(self, server: str) -> None:
        """Returns once ``marked`` says something. Raises CatalogueError."""
        if server not in self._marked:
            await self._read(server)
        elif server in self._changed:
            await self.get(server)  # not at each change, and not for long

    async def now(self, server: str) -> Catalogue:
        """What the server offers now, however long that takes. Raises CatalogueError."""
        return await self._read(server)

    async def get(self, server: str) -> Catalogue:
        """What the server offers now, or lately where it is slow to say. Raises CatalogueError."""
        kept = self._kept.get(server)
        if kept is None:
            return await self._read(server)
        at, catalogue = kept
        if asyncio.get_running_loop().time() - at < FRESH_S:
            return catalogue
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._read(server)
        except (TimeoutError, CatalogueError):
            return catalogue

    async def _read(self, server: str) -> Catalogue:
        found = self._reading.get(server)
        if found is None:
            spec = self._specs.get(server)
            if spec is None:
                raise CatalogueError(f"There is no server {server}.")
            found = asyncio.get_running_loop().create_future()
            # Whether anybody still waits when it fails is left open.
            found.add_done_callback(lambda done: None if done.cancelled() else done.exception())
            self._reading[server] = found
            try:
                self._spawn(self._run(spec, found))
            except BaseException:
                del self._reading[server]
                raise
        return await asyncio.shield(found)

    async def _run(self, spec: ChildSpec, found: asyncio.Future[Catalogue]) -> None:
        try:
            catalogue = await self._ask(spec)
        except CatalogueError as error:
            _log.warning("catalogue_not_read", server=spec.name, why=str(error))
            found.set_exception(error)
        except BaseException:
            found.cancel()
            raise
        else:
            found.set_result(catalogue)
            if self._reading.get(spec.name) is found:
                if self._definitions is not None:
                    self._definitions.read(spec.name, catalogue.definitions, catalogue.instructions)
                self._changed.discard(spec.name)
                self._kept[spec.name] = (asyncio.get_running_loop().time(), catalogue)
                self._mirrored[spec.name] = {
                    offer.name: offer.mirrored for offer in catalogue.of(Kind.TOOL) if offer.mirrored
                }
                self._names[spec.name] = {
                    kind: frozenset(offer.name for offer in catalogue.of(kind)) for kind in Kind
                }
                self._marked[spec.name] = catalogue.marked
                self._contained[spec.name] = catalogue.contained
        finally:
            if self._reading.get(spec.name) is found:
                del self._reading[spec.name]

    def _told(self) -> Overrides:
        """What the site says in the place of servers."""
        return {} if self._definitions is None else self._definitions.overrides

    async def _ask(self, spec: ChildSpec) -> Catalogue:
        try:
            async with asyncio.timeout(READ_S):
                child = await self._children.start(spec.patient())
                try:
                    asking = Conversation(spec.name, child, self._told().get(spec.name))
                    return Catalogue(spec.name, await asking.lists(), asking.instructions)
                finally:
                    await child.stop()
        except TimeoutError:
            raise CatalogueError(f"It did not say what it offers within {READ_S:g} s.") from None
        except ChildGone:
            raise CatalogueError("It ended before it said what it offers.") from None
        except (ChildStartError, TooManyChildren, CrashLooping) as error:
            raise CatalogueError(str(error)) from None
