"""Callers of HTTP+SSE."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from tests.harness.conversing.conversation import Json, News
from tests.harness.conversing.handshake import WithSession
from tests.harness.conversing.streams import data_of, parsed


class HttpSse(WithSession):
    """2024-11-05 as it was: one stream for all, and messages by POST."""

    def __init__(self, revision: str, url: str, token: str) -> None:
        super().__init__(revision, url, token)
        self._open = AsyncExitStack()
        self._post_to = ""
        self._runs: dict[tuple[object, type], OnTheStream] = {}
        self._news: deque[Json] | None = None
        self._reading = asyncio.Lock()

    async def _begin(self) -> None:
        headers = {**self._authorization, "Accept": "text/event-stream"}
        stream = await self._open.enter_async_context(self._http.get(self.url, headers=headers))
        assert (stream.status, stream.content_type) == (200, "text/event-stream")
        self._events = data_of(stream)
        kind, _, where = await anext(self._events)
        assert kind == "endpoint"
        self._post_to = str(stream.url.join(type(stream.url)(where, encoded=True)))
        self.begun = (await self.request("initialize", self._hello())).result
        await self._say({"method": "notifications/initialized"})

    async def hang_up(self) -> None:
        await self._open.aclose()
        await super().hang_up()

    async def _say(self, message: Json) -> None:
        body = {"jsonrpc": "2.0", **message}
        async with self._http.post(self._post_to, json=body, headers=self._authorization) as response:
            assert response.status == 202

    @asynccontextmanager
    async def _running(self, method: str, params: Json, id: object) -> AsyncIterator[OnTheStream]:
        run = OnTheStream(self, method, id, params.get("_meta", {}).get("progressToken"))
        self._runs[(id, type(id))] = run
        try:
            await self._say({"id": id, "method": method, "params": params})
            yield run
        finally:
            del self._runs[(id, type(id))]

    async def next_in(self, inbox: deque[Json]) -> Json:
        """Whoever waits reads the stream, for the others too."""
        while not inbox:
            async with self._reading:
                if not inbox:
                    await self._advance()
        return inbox.popleft()

    async def _advance(self) -> None:
        """Take the next message of the stream to where it belongs."""
        kind, _, data = await anext(self._events)
        assert kind == "message"
        message = parsed(data)
        if "method" not in message:
            run = self._runs.get((message["id"], type(message["id"])))
            assert run is not None, "an answer to what nobody asked"
            run.inbox.append(message)
            return
        token = message.get("params", {}).get("progressToken")
        for run in reversed(self._runs.values()):
            if token is None or (token, type(token)) == (run.token, type(run.token)):
                break
        else:
            run = None
            assert token is None, "progress of what nobody asked"
        if self._news is not None and "id" not in message and token is None:
            self._news.append(message)
        elif run is not None:
            run.inbox.append(message)

    @asynccontextmanager
    async def listening(self, uri: str | None = None) -> AsyncIterator[News]:
        if uri is not None:
            assert (await self.request("resources/subscribe", {"uri": uri})).result == {}
        self._news = deque()
        try:
            yield NewsOnTheStream(self, self._news)
        finally:
            self._news = None
        if uri is not None:
            assert (await self.request("resources/unsubscribe", {"uri": uri})).result == {}


class OnTheStream:
    """What belongs to one request on the stream of all."""

    status = 200

    def __init__(self, caller: HttpSse, method: str, id: object, token: object) -> None:
        self.id, self.method, self.token = id, method, token
        self.inbox: deque[Json] = deque()
        self._caller = caller

    async def next(self) -> Json:
        return await self._caller.next_in(self.inbox)

    async def rest(self) -> list[Json]:
        # Whatever it is, it came before the answer to what is asked now.
        await self._caller.request("ping")
        return list(self.inbox)


class NewsOnTheStream:
    def __init__(self, caller: HttpSse, inbox: deque[Json]) -> None:
        self._caller, self._inbox = caller, inbox

    async def next(self) -> Json:
        return await self._caller.next_in(self._inbox)
