"""The servers of the configuration, whatever they are: a process for a command, a conversation for a url."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from penstock_agent import alone
from penstock_agent.children.child import ChildSpec, ChildStartError, ProcessSpec
from penstock_agent.children.confinement import kernel
from penstock_agent.children.confinement.plan import CannotConfine, Confinement, Level, decide
from penstock_agent.children.containers.run import Container, Mount
from penstock_agent.children.environment import OFFLINE, prepare, prepared_folder
from penstock_agent.children.pool import Children
from penstock_agent.children.units import spec as units
from penstock_agent.children.units.spec import UnitSpec
from penstock_agent.endpoint.bridge.up.face import Faces
from penstock_agent.endpoint.ports import Child, Stopping
from penstock_agent.endpoint.room import GiveWay, WithRoom
from penstock_agent.gate.definitions import Definitions
from penstock_agent.gate.expose import Expose
from penstock_agent.gate.redaction.rules import Redactor
from penstock_agent.gate.redaction.settings import rules
from penstock_agent.remote.address import looks_like_sse
from penstock_agent.remote.headers import Header
from penstock_agent.remote.remotes import Remotes
from penstock_agent.remote.spec import RemoteSpec
from penstock_agent.server_settings import ServerSettings
from penstock_agent.site.aggregate import Aggregate
from penstock_agent.site.names import Names
from penstock_agent.site.redacting import SiteRedactor
from penstock_agent.site.settings import SiteSettings
from penstock_agent.site.spec import Member, SiteSpec


def spec(
    state_dir: Path,
    name: str,
    server: ServerSettings,
    agent: Mapping[str, str],
    private: Collection[Path] = (),
    changing: Collection[Path] = (),
) -> ChildSpec:
    """What is started for a server; makes the folders of one that is a process of the agent.

    ``agent`` is the agent's environment; ``private`` is what no server may see beside ``state_dir``;
    ``changing`` is what any server may write. Raises CannotConfine, and as ``environment.prepare`` does.
    """
    if server.level is Level.UNIT:
        return _unit(state_dir, name, server)
    if server.image is not None:
        return _container(state_dir, name, server, server.image, agent, (state_dir, *private))
    if server.url is None:
        try:
            confined = confinement(server, (state_dir, *private))
        except CannotConfine as error:
            raise CannotConfine(f"servers.{name}: {error}") from None
        programs = (prepared_folder(state_dir, name),)
        confined = replace(confined, programs=programs, changing=tuple(changing))
        return prepare(state_dir, name, server.command, server.env, agent, confined)
    transport = server.transport or ("sse" if looks_like_sse(server.url) else "http")
    headers = tuple(Header(key, value) for key, value in server.headers.items())
    return RemoteSpec(name, server.url, transport, headers, server.ca_file)


def confinement(server: ServerSettings, private: Collection[Path]) -> Confinement:
    """How the children of a server with a ``command`` are confined here. Raises CannotConfine."""
    return decide(
        server.level,
        kernel.look(),
        network=server.online,
        read=server.read,
        write=server.write,
        hidden=tuple(private),
        limits=server.limits.limits(),
    )


def _container(
    state_dir: Path,
    name: str,
    server: ServerSettings,
    image: str,
    agent: Mapping[str, str],
    private: Collection[Path],
) -> ProcessSpec:
    confined = confinement(server, private)
    made = prepare(state_dir, name, server.command, server.env, agent, confined)
    mounts = {
        place: Mount(place, server.mounts.get(place, place), writable)
        for writable, places in ((False, server.read), (True, server.write))
        for place in places
    }
    container = Container(image, owner(state_dir), tuple(mounts.values()))
    # What its image brings is its own environment.
    declared = server.env if confined.network else {**OFFLINE, **server.env}
    return replace(made, env=dict(declared), container=container)


def owner(state_dir: Path) -> str:
    """Whose containers they are, in podman's labels: the agent's with this state folder."""
    return hashlib.sha256(str(state_dir.absolute()).encode()).hexdigest()[:16]


def _unit(state_dir: Path, name: str, server: ServerSettings) -> UnitSpec:
    return UnitSpec(
        name,
        units.socket_of(name),
        unit_settings(server),
        units.token_file(state_dir, name),
        replace(confinement(server, ()), reach=() if server.reach is None else tuple(server.network)),
    )


def unit_settings(server: ServerSettings) -> str:
    """By which a unit shows that it was made of these settings."""
    return units.digest(
        server.command,
        server.env,
        network=server.online if server.reach is None else server.network,
        read=server.read,
        write=server.write,
        limits=server.limits.limits(),
    )


def members(servers: Mapping[str, ServerSettings]) -> list[str]:
    """The servers that are used together under the site's own URL; none as long as it is only one.

    A grant for a server with ``trust = "caller"`` is signed for that server alone, so it is not among them.
    """
    found = [name for name, server in servers.items() if server.expose and server.trust == "relay"]
    return found if len(found) > 1 else []


def whole_site(
    site: SiteSettings,
    servers: Mapping[str, ServerSettings],
    specs: Mapping[str, ChildSpec],
    without: Collection[str] = (),
) -> SiteSpec | None:
    """What is started for all of them together; None where that is not to be had. ``without``: those that
    are stopped for now.
    """
    names = [name for name in members(servers) if name not in without]
    found = [Member(specs[name], Expose.parse(servers[name].expose)) for name in names]
    if not found:
        return None
    return SiteSpec.of(
        found, names=Names(site.targets), title=site.name, instructions=site.instructions, status=site.status
    )


def redactors(servers: Mapping[str, ServerSettings], site: ChildSpec | None) -> dict[str, Redactor]:
    """What is taken out of what servers say, by server, and of what they say as one."""
    found = {name: made for name, server in servers.items() if (made := rules(server.redact)) is not None}
    if isinstance(site, SiteSpec) and (whole := SiteRedactor.of(site, found)) is not None:
        return {**found, site.name: whole}
    return dict(found)


class Servers:
    """Starts what a spec asks for: the endpoint's view of :class:`Children` and :class:`Remotes`.

    An async context manager: the whole site, which starts others, is to be had within it only.
    """

    def __init__(self, children: Children, remotes: Remotes) -> None:
        self._children = children
        self._remotes = remotes
        self._tasks: asyncio.TaskGroup | None = None
        self._late: set[str] = set()
        self._running: set[asyncio.Task[None]] = set()
        self.definitions: Definitions | None = None
        """What was approved of what servers offer."""
        self.give_way: GiveWay | None = None
        """Ends a process that nobody uses, where the whole site needs its place."""
        self._faces = Faces(WithRoom(self, self._made_room), self._spawn)
        """What speaks only 2026-07-28 looks to the whole site like one of the handshake era."""
        started = time.time()
        self.online_since: Callable[[], float] = lambda: started
        """Since when the site is online, in seconds since 1970."""

    async def __aenter__(self) -> Self:
        self._tasks = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks, self._tasks = self._tasks, None
        assert tasks is not None  # noqa: S101  entered
        for task in self._running:
            task.cancel()
        # What ended the body is not the tasks' matter, and must come out of here as it is.
        await tasks.__aexit__(None, None, None)

    async def start(self, spec: ChildSpec, /) -> Child:
        """Raises as ``Children.start`` and ``Remotes.start`` do."""
        match spec:
            case RemoteSpec():
                return await self._remotes.start(spec)
            case ProcessSpec() | UnitSpec():
                return await self._children.start(spec)
            case SiteSpec():
                return Aggregate(
                    spec,
                    self._faces,
                    self._spawn,
                    lambda: self.online_since(),
                    self._late,
                    self.definitions,
                )
        raise ChildStartError(f"server {spec.name}: nothing here starts a {type(spec).__name__}")

    async def _made_room(self) -> bool:
        return self.give_way is not None and await self.give_way()

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        if self._tasks is None:
            work.close()
            raise Stopping
        task = alone.start(self._tasks, work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def restart_delay(self, server: str, /) -> float:
        """Seconds to wait before it is started again after it ended by itself."""
        return max(self._children.restart_delay(server), self._remotes.restart_delay(server))

    def worked(self, server: str, /) -> None:
        """It has answered."""
        self._children.worked(server)

    def forget(self, server: str, /) -> None:
        """Its configuration has changed: the past says nothing any more."""
        self._late.discard(server)
        self._children.forget(server)
        self._remotes.forget(server)

    def warm(self) -> dict[str, int]:
        """How many processes wait for somebody to need them, by server."""
        return {name: counts.warm for name, counts in self._children.counts().items()}

    def running(self) -> dict[str, int]:
        """How many processes and conversations serve somebody, by server."""
        found = {name: counts.running for name, counts in self._children.counts().items()}
        for name, open_now in self._remotes.counts().items():
            found[name] = found.get(name, 0) + open_now
        return found
