"""The configuration in force: how another reading of the file, or the stop button, takes its place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from penstock import log
from penstock_agent.children.pool import Children
from penstock_agent.config import Settings
from penstock_agent.control import Args, Peer
from penstock_agent.daemon.configured import Configured
from penstock_agent.endpoint import Endpoint
from penstock_agent.gate.pause import Paused
from penstock_agent.hooks import Hooks
from penstock_agent.ledger import happenings
from penstock_agent.ledger.entries import Event
from penstock_agent.withholding import Withholding

_log = log.get(__name__)


class InForce:
    """One per agent, with the parts of it that follow the file."""

    def __init__(
        self,
        configured: Configured,
        paused: Paused,
        site: str,
        endpoint: Endpoint,
        children: Children,
        offer: Callable[[frozenset[str]], None],
        withholding: Withholding,
        hooks: Hooks,
        note: Callable[[Event], None],
    ) -> None:
        """The parts were made for ``configured`` and ``paused`` already. ``offer``: names of servers, to the
        relay. ``note``: the ledger.
        """
        self.configured = configured
        self._paused = paused
        self._site = site
        self._endpoint = endpoint
        self._children = children
        self._offer = offer
        self._withholding = withholding
        self._hooks = hooks
        self._note = note
        self._tasks: asyncio.TaskGroup | None = None
        self._judging: asyncio.Task[None] | None = None

    @property
    def settings(self) -> Settings:
        return self.configured.settings

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """Judge callers, in a task of this group."""
        self._tasks = tasks
        self._judging = tasks.create_task(self.configured.callers.run())

    def stop(self, paused: Paused) -> int:
        """What the stop button says, from now on; returns how much that ends."""
        self._paused = paused
        ended = self._endpoint.pause(paused)
        self._use(self.configured)
        return ended

    async def reload(self, peer: Peer, args: Args) -> Args:
        """The verb of the control socket."""
        self.reread(peer.uid)
        _log.info("configuration_read_again", by_uid=peer.uid)
        return {"servers": sorted(self.settings.servers)}

    def reread(self, by_uid: int) -> None:
        """Servers and what is exposed, from the file as it is now; all or nothing. Raises Problem."""
        before = self.settings
        configured = Configured.of(before.reload(), self._site)
        after = configured.settings
        self._hooks.command = after.on_event
        self._withholding.use(after)
        if self._judging is not None and self._tasks is not None:
            self._judging.cancel()
            self._judging = self._tasks.create_task(configured.callers.run())
        self._use(configured)
        self._children.keep_warm(configured.warm)
        self._offer(configured.offered)
        self._note(Event("configuration_read_again", by_uid, {"configuration": content(after)}))
        exposed = [{name: one.expose for name, one in each.servers.items()} for each in (before, after)]
        for event in happenings.exposed(exposed[0], exposed[1], by_uid):
            self._note(event)

    def _use(self, configured: Configured) -> None:
        """From now on, for what is open as well."""
        self.configured = configured
        started = configured.started(self._paused)
        self._endpoint.reload(started, configured.gate(started), configured.callers, configured.shared_by_all)


def content(settings: Settings) -> str:
    """By which the settings file can be recognised; empty where there is none."""
    try:
        return happenings.content(settings.config_file.read_bytes())
    except OSError:
        return ""
