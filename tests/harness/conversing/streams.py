"""Event streams of HTTP, message by message."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import aiohttp

from tests.harness.conversing.conversation import Json


async def data_of(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, str, str]]:
    """Event, id and data of each event of a stream, as they come; comments are skipped."""
    rest = b""
    async for chunk in response.content.iter_any():
        rest += chunk
        while b"\n\n" in rest:
            block, rest = rest.split(b"\n\n", 1)
            lines = [line.decode().partition(": ") for line in block.split(b"\n")]
            found = {name.rstrip(":"): value for name, _, value in lines if name}
            if found.keys() & {"id", "data", "event"}:
                yield found.get("event", "message"), found.get("id", ""), found.get("data", "")


class Response:
    """The response to one POST, or to a GET: a :class:`Running` and a :class:`News`."""

    def __init__(self, response: aiohttp.ClientResponse, method: str = "", id: object = None) -> None:
        self.id, self.method, self.status = id, method, response.status
        self.response = response
        self.event_ids: list[str] = []
        self.primed = False
        """Whether the first event was one without data."""
        self._events = data_of(response)
        self._whole = response.content_type == "application/json"

    async def next(self) -> Json:
        if self._whole:
            self._whole = False
            return parsed(await self.response.read())
        if self.response.content_type != "text/event-stream":
            raise EOFError
        async for event, id, data in self._events:
            assert event == "message"
            self.primed = self.primed or not (data or self.event_ids)
            if id:
                self.event_ids.append(id)
            if data:
                return parsed(data)
        raise EOFError

    async def rest(self) -> list[Json]:
        found = []
        try:
            while True:
                found.append(await self.next())
        except (EOFError, aiohttp.ClientConnectionError):
            return found


def parsed(text: str | bytes) -> Json:
    found = json.loads(text)
    assert isinstance(found, dict)
    assert found.get("jsonrpc") == "2.0"
    return found
