"""The servers of the configuration, whatever they are: a process for a command, a conversation for a url."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from penstock_agent.children.child import ChildSpec, ChildStartError, ProcessSpec
from penstock_agent.children.environment import prepare
from penstock_agent.children.pool import Children
from penstock_agent.endpoint.ports import Child
from penstock_agent.remote.address import looks_like_sse
from penstock_agent.remote.headers import Header
from penstock_agent.remote.remotes import Remotes
from penstock_agent.remote.spec import RemoteSpec
from penstock_agent.server_settings import ServerSettings


def spec(state_dir: Path, name: str, server: ServerSettings, agent: Mapping[str, str]) -> ChildSpec:
    """What is started for a server; makes the folders of one that is a process.

    ``agent`` is the agent's environment. Raises as ``environment.prepare`` does.
    """
    if server.url is None:
        return prepare(state_dir, name, server.command, server.env, agent)
    transport = server.transport or ("sse" if looks_like_sse(server.url) else "http")
    headers = tuple(Header(key, value) for key, value in server.headers.items())
    return RemoteSpec(name, server.url, transport, headers, server.ca_file)


class Servers:
    """Starts what a spec asks for: the endpoint's view of :class:`Children` and :class:`Remotes`."""

    def __init__(self, children: Children, remotes: Remotes) -> None:
        self._children = children
        self._remotes = remotes

    async def start(self, spec: ChildSpec, /) -> Child:
        """Raises as ``Children.start`` and ``Remotes.start`` do."""
        match spec:
            case RemoteSpec():
                return await self._remotes.start(spec)
            case ProcessSpec():
                return await self._children.start(spec)
        raise ChildStartError(f"server {spec.name}: nothing here starts a {type(spec).__name__}")

    def restart_delay(self, server: str, /) -> float:
        """Seconds to wait before it is started again after it ended by itself."""
        return max(self._children.restart_delay(server), self._remotes.restart_delay(server))

    def worked(self, server: str, /) -> None:
        """It has answered."""
        self._children.worked(server)

    def forget(self, server: str, /) -> None:
        """Its configuration has changed: the past says nothing any more."""
        self._children.forget(server)
        self._remotes.forget(server)

    def running(self) -> dict[str, int]:
        """How many processes and conversations there are, by server."""
        found = {name: counts.running for name, counts in self._children.counts().items()}
        for name, open_now in self._remotes.counts().items():
            found[name] = found.get(name, 0) + open_now
        return found
