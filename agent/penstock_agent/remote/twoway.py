"""HTTP+SSE of 2024-11-05: one event stream in, and an address to post to that it names first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from penstock import log
from penstock.http import EVENT_STREAM, Headers
from penstock_agent.children.lines import Oversize
from penstock_agent.remote import address
from penstock_agent.remote.address import Refused
from penstock_agent.remote.channel import Channel, Post, Spawn
from penstock_agent.remote.protocol import INITIALIZE, Cursor, Outgoing, answers, media_type
from penstock_agent.remote.spec import RemoteSpec
from penstock_agent.remote.sse import Event
from penstock_agent.remote.web import Failed, Response, Web

BEGIN_S: Final = 15.0
"""Seconds in which the server must be reached and say where to post."""

ACK_S: Final = 5.0
"""How long a server may take to say that it took a request that it has answered."""

_log = log.get("penstock_agent.remote")


class TwoWay(Channel):
    """See :class:`Channel`. ``begin`` comes first."""

    def __init__(
        self,
        spec: RemoteSpec,
        web: Web,
        own: dict[str, str],
        spawn: Spawn,
        ended: Callable[[Channel], None],
    ) -> None:
        super().__init__(spec, web, own, spawn, ended)
        self._endpoint: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._endpoint.add_done_callback(lambda done: None if done.cancelled() else done.exception())

    async def begin(self) -> None:
        """Open the stream, and learn where to post. Raises Failed."""
        try:
            async with asyncio.timeout(BEGIN_S):
                await self._begin(address.show(self.spec.url))
        except TimeoutError:
            raise Failed(
                f"{address.show(self.spec.url)} did not say within {BEGIN_S:g} s where to post. Check that "
                "it speaks HTTP+SSE",
                sent=False,
            ) from None

    async def _begin(self, where: str) -> None:
        found = {**self._own, "Accept": EVENT_STREAM}
        response = await self._web.request("GET", self.spec.url, found)
        if response.status != 200 or media_type(response.header("Content-Type")) != EVENT_STREAM:
            response.close()
            raise Failed(
                f"{where} answered HTTP {response.status} and no event stream. Check url and transport: "
                'with transport = "sse" it must be an address of HTTP+SSE (2024-11-05)',
                sent=False,
            )
        self._start(self._listen(response))
        await self._endpoint

    def _target(self) -> str:
        return self._endpoint.result()

    def _headers(self, out: Outgoing | None, params: Headers = ()) -> dict[str, str]:
        if out is not None and (out.method == INITIALIZE or out.modern):
            return {}
        return self._handshake.headers(None)

    def _lost(self, in_session: bool, status: int, body: bytes) -> bool:
        return False  # the stream stands, and it is the session

    async def _response(self, post: Post, response: Response) -> None:
        """It was taken; the answer comes on the stream, and may have come already."""
        response.close()
        await post.done.wait()

    async def _take(self, line: bytes, post: Post | None = None) -> None:
        for waiting in self._posts.values():
            if waiting.out.method == INITIALIZE:
                self._handshake.met(None, line)
        answered = self._posts.get(answers(line) or b"")
        await super()._take(line, post)
        if answered is not None:  # some servers take a message only when they have answered it, or never
            asyncio.get_running_loop().call_later(ACK_S, answered.drop)

    async def _listen(self, response: Response) -> None:
        how = "ended its event stream"
        try:
            await self._events(response, Cursor(), self._event)
        except Failed as e:
            _log.warning("remote_stream_broke", server=self.spec.name, why=str(e))
        except Exception as e:
            _log.error("remote_stream_broke", server=self.spec.name, error=type(e).__name__)
        finally:
            response.close()
            with suppress(asyncio.InvalidStateError):
                self._endpoint.set_exception(
                    Failed(f"{address.show(self.spec.url)} {how} before it said where to post", sent=False)
                )
            self._end(how)

    async def _event(self, event: Event | Oversize) -> None:
        if isinstance(event, Oversize):
            await self._inbox.put(event)
        elif event.name == "message":
            await self._take(event.data)
        elif event.name == "endpoint" and not self._endpoint.done():
            self._named(event.data)

    def _named(self, data: bytes) -> None:
        try:
            self._endpoint.set_result(address.within(self.spec.url, data.decode("ascii", "replace")))
        except Refused as e:
            self._endpoint.set_exception(
                Failed(
                    f"{address.show(self.spec.url)} wants messages posted to {e}; the agent posts only to "
                    "the origin of url",
                    sent=False,
                    elsewhere=True,
                )
            )
