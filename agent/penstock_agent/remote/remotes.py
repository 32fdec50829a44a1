"""All conversations with remote servers: how many there may be, who owns their tasks, and their end."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from penstock import log
from penstock_agent.children import backoff
from penstock_agent.children.child import ChildStartError
from penstock_agent.remote import address, headers
from penstock_agent.remote.headers import BadHeader
from penstock_agent.remote.spec import RemoteSpec

if TYPE_CHECKING:
    from penstock_agent.remote.channel import Channel

MAX_REMOTES: Final = 512
"""Conversations at once in one agent."""
SHORT_S: Final = 10.0
"""A conversation that ended sooner than this, and not by us, makes the next one wait."""
CLOSE_S: Final = 4.0
INSTALL: Final = "pip install 'penstock[http]'"

_log = log.get("penstock_agent.remote")


class Remotes:
    """An async context manager: leaving it ends every conversation."""

    def __init__(
        self,
        max_remotes: int = MAX_REMOTES,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """``clock``: seconds, never back; ``chance``: random in [0, 1), spreads new attempts."""
        self._max = max_remotes
        self._clock = clock
        self._chance = chance
        self._tasks: asyncio.TaskGroup | None = None
        self._open: dict[Channel, float] = {}
        self._starting = 0
        self._short: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        self._tasks = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks, self._tasks = self._tasks, None
        assert tasks is not None  # noqa: S101  entered
        try:
            async with asyncio.timeout(CLOSE_S):
                async with asyncio.TaskGroup() as stops:
                    for one in list(self._open):
                        stops.create_task(one.stop())
        except TimeoutError:
            _log.error("remotes_not_stopped", left=len(self._open), waited_s=CLOSE_S)
        finally:
            # What ended the body is not the tasks' matter, and must come out of here as it is.
            await tasks.__aexit__(None, None, None)

    def __len__(self) -> int:
        """Conversations that are open or being opened."""
        return len(self._open) + self._starting

    def counts(self) -> Counter[str]:
        """Open conversations by server."""
        return Counter(one.spec.name for one in self._open)

    async def start(self, spec: RemoteSpec) -> Channel:
        """Begin a conversation: the server has been reached then. It leaves by being stopped.

        Raises ChildStartError, whose text names cause and next step.
        """
        if self._tasks is None:
            raise ChildStartError(f"server {spec.name}: the agent is stopping")
        if len(self) >= self._max:
            raise ChildStartError(
                f"server {spec.name}: {self._max} conversations with remote servers are open, which is all "
                "that this agent may have. End a session, or wait until idle ones end.",
                told="The agent on site has as many conversations with servers as it may have. Close a "
                "session that is no longer used, or try again later.",
            )
        self._starting += 1
        try:
            channel = await self._begin(spec)
        finally:
            self._starting -= 1
        self._open[channel] = self._clock()
        _log.info("remote_started", server=spec.name, where=address.show(spec.url))
        return channel

    def restart_delay(self, server: str) -> float:
        """Seconds to wait before the next conversation, where the last ones ended as soon as they began."""
        return backoff.delay(self._short[server], self._chance())

    def forget(self, server: str) -> None:
        """Its configuration has changed: the past says nothing any more."""
        self._short.pop(server, None)

    async def _begin(self, spec: RemoteSpec) -> Channel:
        try:
            from penstock_agent.remote import streamable, twoway, web, words
        except ImportError as e:
            if (e.name or "").partition(".")[0] not in ("aiohttp", "yarl"):
                raise
            raise ChildStartError(
                f"server {spec.name}: servers with a url need an HTTP client that is not installed. Install "
                f"it beside the agent: {INSTALL}"
            ) from None
        try:
            own = headers.read(spec.headers)
        except BadHeader as e:
            raise ChildStartError(f"server {spec.name}: headers: {e}") from None
        context = None if address.is_plain(spec.url) else web.trust(spec.name, spec.ca_file)
        client = web.Web(context)
        channel: Channel
        try:
            if spec.transport == "sse":
                channel = two = twoway.TwoWay(spec, client, own, self._spawn, self._ended)
                try:
                    await two.begin()
                except BaseException:
                    await two.stop()
                    raise
            else:
                await client.reach(spec.url)
                channel = streamable.Streamable(spec, client, own, self._spawn, self._ended)
        except web.Failed as e:
            await client.close()
            told = words.ELSEWHERE if e.elsewhere else words.OUT_OF_REACH
            raise ChildStartError(f"server {spec.name}: {e}.", told=told.text) from None
        except BaseException:
            await client.close()
            raise
        return channel

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        if self._tasks is None:
            raise RuntimeError("the agent is stopping")
        return self._tasks.create_task(work)

    def _ended(self, channel: Channel) -> None:
        begun = self._open.pop(channel, None)
        if begun is None:
            return
        name, lived = channel.spec.name, self._clock() - begun
        if channel.over and lived < SHORT_S:
            self._short[name] += 1
        else:
            self._short.pop(name, None)
        _log.info("remote_ended", server=name, by_server=channel.over)
