"""Streamable HTTP: 2025-03-26 to 2025-11-25 with a session of the server's, 2026-07-28 without."""

from __future__ import annotations

import asyncio
from typing import Final

from penstock import log
from penstock.http import EVENT_STREAM, JSON, Headers
from penstock_agent.children.lines import Oversize
from penstock_agent.remote import words
from penstock_agent.remote.channel import REFUSAL_MAX, Channel, Post
from penstock_agent.remote.protocol import (
    INITIALIZE,
    INITIALIZED,
    Cursor,
    Outgoing,
    media_type,
    refusal,
    session_lost,
)
from penstock_agent.remote.sse import Event
from penstock_agent.remote.web import Failed, Response

RESUMES_MAX: Final = 6
"""Times in a row that the rest of a response is asked for in vain."""
PAUSE_S: Final = 0.1
"""Wait before a stream that brought nothing new is asked for again; it doubles with each such."""
RESUME_PAUSE_MAX_S: Final = 5.0
LISTEN_PAUSE_MAX_S: Final = 60.0
LINGER_S: Final = 1.0
"""How long an answered event stream may take to end, for its connection to be used again."""

_log = log.get("penstock_agent.remote")


class Streamable(Channel):
    """See :class:`Channel`."""

    _listening = False

    def _target(self) -> str:
        return self.spec.url

    def _headers(self, out: Outgoing | None, params: Headers = ()) -> dict[str, str]:
        if out is not None and out.method == INITIALIZE and not out.modern:
            return {}
        return self._handshake.headers(out, params)

    def _lost(self, in_session: bool, status: int, body: bytes) -> bool:
        return in_session and session_lost(status, body)

    # Answers.

    async def _response(self, post: Post, response: Response) -> None:
        kind = media_type(response.header("Content-Type"))
        if kind == JSON:
            await self._one(post, response)
        elif kind == EVENT_STREAM:
            await self._stream(post, response)
        elif response.status not in (202, 204):
            self._say(post, words.NOT_MCP)

    async def _one(self, post: Post, response: Response) -> None:
        lines = await self._json(post, response)
        for line in lines:
            self._met(post, response, line)
            # A refusal that has nobody's id can only be meant for this request.
            only = refusal(line, post.out.id or b"null") if len(lines) == 1 else None
            await self._take(only or line, post)

    async def _stream(self, post: Post, response: Response) -> None:
        cursor, current, idle = Cursor(), response, 0
        while True:
            before, broke = cursor.last_id, None
            try:
                await self._until_answered(post, response, current, cursor)
            except Failed as e:
                broke = e
            finally:
                if current is not response:
                    current.close()
            if post.answered or post.oversize:
                return
            if post.out.modern or cursor.last_id is None:
                if broke is not None:
                    raise broke
                return
            # It broke, or the server wants to be asked again (2025-11-25).
            idle = 0 if cursor.last_id != before else idle + 1
            current = await self._resume(cursor, idle)

    async def _until_answered(self, post: Post, first: Response, current: Response, cursor: Cursor) -> None:
        async def take(event: Event | Oversize) -> None:
            if isinstance(event, Oversize):
                post.oversize = True
            elif event.name == "message":
                self._met(post, first, event.data)
                await self._take(event.data, post)
                if post.answered and linger.when() is None:
                    linger.reschedule(asyncio.get_running_loop().time() + LINGER_S)

        try:
            async with asyncio.timeout(None) as linger:
                await self._events(current, cursor, take)
        except TimeoutError:
            return

    async def _resume(self, cursor: Cursor, idle: int) -> Response:
        """The rest of a response. Raises Failed when it is not to be had: the request has run, or will."""
        for attempt in range(RESUMES_MAX):
            quiet = idle + attempt
            pause = min(RESUME_PAUSE_MAX_S, PAUSE_S * 2.0 ** min(quiet, 16)) if quiet else 0.0
            await asyncio.sleep(max(cursor.retry_s, pause))
            try:
                response = await self._get(cursor)
            except Failed as e:
                if e.elsewhere:
                    break
                continue
            if _is_stream(response):
                return response
            status, body = response.status, await response.start(REFUSAL_MAX)
            response.close()
            if self._lost(self._handshake.session_id is not None, status, body):
                self._lose()
                break
            if status < 500:
                break
        raise Failed("the answer broke off, and the rest of it could not be had", sent=True)

    def _met(self, post: Post, response: Response, line: bytes) -> None:
        if post.out.method == INITIALIZE and not post.out.modern and not post.answered:
            self._handshake.met(response.header("Mcp-Session-Id"), line)

    # What the server says of itself.

    async def _told(self, out: Outgoing) -> None:
        if out.method == INITIALIZED and not self._listening:
            self._listening = True
            self._start(self._listen())

    async def _listen(self) -> None:
        """Ask for the stream of what belongs to no request, as long as the server has one."""
        try:
            await self._listen_on(Cursor())
        except Exception as e:
            _log.error("remote_not_heard", server=self.spec.name, error=type(e).__name__)

    async def _listen_on(self, cursor: Cursor) -> None:
        async def take(event: Event | Oversize) -> None:
            if isinstance(event, Oversize):
                await self._inbox.put(event)
            elif event.name == "message":
                await self._take(event.data)

        quiet, heard = 0, False
        while not self.over:
            before = cursor.last_id
            try:
                response = await self._get(cursor)
                try:
                    if not _is_stream(response):
                        if await self._no_stream(response, heard):
                            return
                    else:
                        heard = True
                        await self._events(response, cursor, take)
                finally:
                    response.close()
            except Failed as e:
                if e.elsewhere:
                    return
            quiet = 0 if cursor.last_id != before else quiet + 1
            pause = min(LISTEN_PAUSE_MAX_S, PAUSE_S * 2.0 ** min(quiet, 16)) if quiet else 0.0
            await asyncio.sleep(max(cursor.retry_s, pause))

    async def _no_stream(self, response: Response, heard: bool) -> bool:
        """Whether it is no use to ask again: 405, as a rule, and 404 for a session that is over."""
        status, body = response.status, await response.start(REFUSAL_MAX)
        # What was granted before is refused now: the server was started anew, whatever it calls that.
        if self._lost(self._handshake.session_id is not None, status, body) or (heard and status == 400):
            self._lose()
        return status < 500

    async def _get(self, cursor: Cursor) -> Response:
        found = {**self._own, "Accept": EVENT_STREAM, **self._headers(None), **cursor.headers()}
        return await self._web.request("GET", self.spec.url, found)

    async def _goodbye(self) -> None:
        if self._handshake.session_id is not None:
            found = {**self._own, **self._headers(None)}
            (await self._web.request("DELETE", self.spec.url, found)).close()


def _is_stream(response: Response) -> bool:
    kind = media_type(response.header("Content-Type"))
    coding = (response.header("Content-Encoding") or "identity").lower()
    return response.status == 200 and kind == EVENT_STREAM and coding == "identity"
