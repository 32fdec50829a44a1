"""One conversation with a server over HTTP, as the endpoint sees a child: lines out, lines in, and an end.

What is sent is a task of its own for each request, so that a slow answer holds up nothing. A request that
gets no answer of the server gets one of ours, which says whether it may have run; the conversation only ends
when there is nobody left to have it with.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Final

from penstock import log
from penstock.envelope import Kind, id_key
from penstock.http import EVENT_STREAM, JSON, Headers
from penstock_agent.children.child import ChildGone
from penstock_agent.children.inbox import Inbox
from penstock_agent.children.lines import LINE_MAX, Oversize
from penstock_agent.remote import headers, words
from penstock_agent.remote.headers import BadHeader
from penstock_agent.remote.parts import Parts
from penstock_agent.remote.protocol import Cursor, Handshake, Outgoing, answers, messages, refusal
from penstock_agent.remote.spec import RemoteSpec
from penstock_agent.remote.sse import Event, SseParser
from penstock_agent.remote.web import Failed, Gate, Response, Web
from penstock_agent.remote.words import Trouble

REQUESTS_MAX: Final = 128
"""Requests that one conversation has open at a time; each is a connection. The next waits."""
TELLS_MAX: Final = 16
"""The same for notifications and answers of ours."""
TELL_WAIT_S: Final = 5.0
"""How long a notification is waited for, so that what follows comes after it."""
TELL_S: Final = 30.0
"""After so long nobody will take it any more."""
GOODBYE_S: Final = 2.0
LOST_S: Final = 1.0
"""How long other requests get to say how they ended, once the server has forgotten the conversation."""
REFUSAL_MAX: Final = 1024 * 1024
"""Bytes that are read of the body of a refusal."""

Spawn = Callable[[Coroutine[object, object, None]], "asyncio.Task[None]"]

_log = log.get("penstock_agent.remote")


class Post:
    """A request that the server has, or will have in a moment."""

    __slots__ = ("answered", "done", "in_session", "key", "out", "oversize", "task")

    def __init__(self, out: Outgoing, *, in_session: bool) -> None:
        self.out = out
        self.key = id_key(out.id or b"null")
        self.in_session = in_session
        """It named a session of the server."""
        self.answered = False
        self.oversize = False
        """Something too large came instead of the answer, or beside it."""
        self.done = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def drop(self) -> None:
        """Nobody waits for it any more."""
        if self.task is not None:
            self.task.cancel()


class Channel(ABC):
    """Of one transport each. Tasks are ``spawn``'s; none of them raises."""

    def __init__(
        self,
        spec: RemoteSpec,
        web: Web,
        own: dict[str, str],
        spawn: Spawn,
        ended: Callable[[Channel], None],
    ) -> None:
        """``own``: the headers of ``spec``, as read. ``ended`` is called once."""
        self.spec = spec
        self.over = False
        """The server has ended the conversation, or is gone."""
        self.problem = ""
        """Why the last request that has no answer of the server has none: for administrators."""
        self._web = web
        self._own = own
        self._spawn = spawn
        self._on_end = ended
        self._handshake = Handshake()
        self._inbox = Inbox()
        self._parts = Parts()
        self._slots = asyncio.Semaphore(REQUESTS_MAX)
        self._tells = asyncio.Semaphore(TELLS_MAX)
        self._posts: dict[bytes, Post] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._stopped = asyncio.Event()

    # As a child.

    async def send(self, line: bytes, params: Headers = ()) -> None:
        """Give the server one line; for a request this returns once there is a connection to send it over.

        ``params``: the Mcp-Param-* headers of a request of 2026-07-28, values encoded. Waits while
        REQUESTS_MAX requests are open. Cancelled, nothing of a request was sent. Raises ChildGone.
        """
        self._check()
        out = Outgoing.of(line)
        if out.kind is Kind.REQUEST:
            await self._ask(out, line, params)
        elif out.cancels is not None:
            await self._cancel(out, line)
        else:
            await self._tell(out, line)

    async def receive(self) -> bytes | Oversize:
        """The next line of the server. One receiver at a time. Raises ChildGone at the end."""
        return await self._inbox.get()

    async def stop(self) -> None:
        """End the conversation, and tell the server. Idempotent; what is unanswered stays so."""
        if self._stopping:
            await self._stopped.wait()
            return
        self._stopping = True
        self._inbox.end(ChildGone(f"server {self.spec.name} was left by the agent", None), drop=True)
        for task in self._tasks:
            task.cancel()
        try:
            with suppress(TimeoutError, Failed):
                async with asyncio.timeout(GOODBYE_S):
                    if self._tasks:
                        await asyncio.wait(self._tasks)
                    if not self.over:
                        await self._goodbye()
        finally:
            self._stopped.set()
            self._on_end(self)
            await self._web.close()

    # What differs.

    @abstractmethod
    def _target(self) -> str:
        """Where lines are posted."""

    @abstractmethod
    def _headers(self, out: Outgoing | None, params: Headers = ()) -> dict[str, str]:
        """Those that the transport wants, for a line or (None) for a GET or DELETE."""

    @abstractmethod
    async def _response(self, post: Post, response: Response) -> None:
        """The head of the answer to a request came with a good status. Raises Failed."""

    @abstractmethod
    def _lost(self, in_session: bool, status: int, body: bytes) -> bool:
        """Whether a refusal means that the server has forgotten the conversation."""

    async def _told(self, out: Outgoing) -> None:
        """The server took a notification or an answer."""
        return

    async def _goodbye(self) -> None:
        return None

    # Out.

    def _check(self) -> None:
        if (gone := self._inbox.ended) is not None:
            raise gone
        if self.over:
            raise ChildGone(f"server {self.spec.name} ended the conversation", None)

    async def _ask(self, out: Outgoing, line: bytes, params: Headers) -> None:
        await self._slots.acquire()
        gate = Gate()
        post = Post(out, in_session="Mcp-Session-Id" in self._headers(out))
        try:
            task = self._start(self._request(post, line, params, gate))
        except BaseException:
            self._slots.release()
            raise
        task.add_done_callback(lambda _: self._slots.release())
        post.task = task
        try:
            await gate.ready()
            self._check()
        except Failed as e:
            _log.warning("remote_not_reached", server=self.spec.name, why=str(e))
            if not self._posts:
                self._end("cannot be reached at the moment")
                self._check()
            # Others still have their connections, and may get their answers.
            self._inbox.put_now(words.OUT_OF_REACH.answer(out))
            return
        except BaseException:
            task.cancel()
            raise
        self._posts[post.key] = post
        gate.open()

    async def _request(self, post: Post, line: bytes, params: Headers, gate: Gate) -> None:
        self.problem = ""
        try:
            response = await self._post(post.out, line, params, gate)
            try:
                await self._judge(post, response)
            finally:
                response.close()
            self._say(post, words.TOO_LARGE if post.oversize else words.NO_ANSWER)
        except Failed as e:
            if gate.opened:  # else the one who sends knows
                self._failed(post, e)
        except Exception as e:  # one request's trouble must not be that of the others
            _log.error("remote_request_failed", server=self.spec.name, error=type(e).__name__)
            gate.fail(Failed("the agent failed inside", sent=False))
            self._say(post, words.BROKE_OFF)
        finally:
            if self._posts.get(post.key) is post:
                del self._posts[post.key]
            if self.over and not self._posts:
                self._end("ended the conversation")

    async def _post(
        self, out: Outgoing, line: bytes, params: Headers = (), gate: Gate | None = None
    ) -> Response:
        form = {"Accept": f"{JSON}, {EVENT_STREAM}", "Content-Type": JSON}
        found = {**self._own, **form, **self._headers(out, params)}
        return await self._web.request("POST", self._target(), found, line, gate)

    async def _judge(self, post: Post, response: Response) -> None:
        if response.status >= 300:
            await self._refused(post, response)
        elif (response.header("Content-Encoding") or "identity").lower() != "identity":
            self._say(post, words.COMPRESSED)
        else:
            await self._response(post, response)

    async def _refused(self, post: Post, response: Response) -> None:
        status, body = response.status, await response.start(REFUSAL_MAX)
        if self._lost(post.in_session, status, body):
            self._say(post, words.SESSION_LOST)
            self._lose()
            return
        answer = refusal(body, post.out.id or b"null")
        if answer is not None:
            post.answered = True
            await self._inbox.put(answer)
            return
        _log.warning("remote_refused", server=self.spec.name, status=status)
        if status in (401, 403):
            self._reread()
        self._say(post, words.by_status(status))

    def _failed(self, post: Post, error: Failed) -> None:
        self.problem = f"{error}."
        _log.warning("remote_request_failed", server=self.spec.name, why=str(error))
        if error.elsewhere:
            self._say(post, words.ELSEWHERE)
        elif error.sent:
            self._say(post, words.TOO_LARGE if post.oversize else words.BROKE_OFF)
        else:
            self._say(post, words.OUT_OF_REACH)

    def _say(self, post: Post, trouble: Trouble) -> None:
        """Answer in the server's place, unless it has answered."""
        if not post.answered:
            post.answered = True
            self.problem = self.problem or trouble.text
            self._inbox.put_now(trouble.answer(post.out))

    async def _cancel(self, out: Outgoing, line: bytes) -> None:
        post = self._posts.get(out.cancels or b"")
        if post is not None and post.out.modern:
            post.drop()  # which is how 2026-07-28 cancels
            return
        if self._handshake.version is not None:
            await self._tell(out, line)
        if post is not None:
            post.drop()

    async def _tell(self, out: Outgoing, line: bytes) -> None:
        await self._tells.acquire()
        try:
            task = self._start(self._deliver(out, line))
        except BaseException:
            self._tells.release()
            raise
        task.add_done_callback(lambda _: self._tells.release())
        await asyncio.wait({task}, timeout=TELL_WAIT_S)

    async def _deliver(self, out: Outgoing, line: bytes) -> None:
        try:
            async with asyncio.timeout(TELL_S):
                response = await self._post(out, line)
                try:
                    if response.status >= 300:
                        body = await response.start(REFUSAL_MAX)
                        if self._lost("Mcp-Session-Id" in self._headers(out), response.status, body):
                            self._lose()
                        else:
                            _log.warning("remote_refused", server=self.spec.name, status=response.status)
                        return
                    await response.start(1)
                finally:
                    response.close()
                await self._told(out)
        except (Failed, TimeoutError) as e:
            _log.warning("remote_not_told", server=self.spec.name, why=str(e) or "no answer")
        except Exception as e:
            _log.error("remote_not_told", server=self.spec.name, error=type(e).__name__)

    # In.

    async def _json(self, post: Post, response: Response) -> list[bytes]:
        """The messages of a JSON body; none, and words for the caller, when it is too large."""
        body = bytearray()
        try:
            while piece := await response.piece():
                after = len(body) + len(piece)
                if after > LINE_MAX or not self._parts.change(len(body), after):
                    self._say(post, words.TOO_LARGE)
                    return []
                body += piece
            return messages(bytes(body))
        finally:
            self._parts.change(len(body), 0)

    async def _events(
        self, response: Response, cursor: Cursor, take: Callable[[Event | Oversize], Awaitable[None]]
    ) -> None:
        """Until the stream ends. Raises Failed when it breaks off."""
        parser = SseParser()
        held = 0
        try:
            while piece := await response.piece():
                found = parser.feed(piece)
                if not self._parts.change(held, parser.partial):
                    raise Failed("too much of too many answers is on its way at once", sent=True)
                held = parser.partial
                for event in found:
                    await take(event)
                cursor.moved(parser.last_id, parser.retry_s)
        finally:
            self._parts.change(held, 0)

    async def _take(self, line: bytes, post: Post | None = None) -> None:
        """A line of the server, on the response to ``post`` if it is one."""
        key = answers(line)
        found = post if post is not None and key == post.key else self._posts.get(key or b"")
        if found is not None and found.answered:
            return  # ours was first, and who asked has been told
        if found is not None:
            found.answered = True
        await self._inbox.put(line)
        if found is not None:
            found.done.set()

    # The end.

    def _lose(self) -> None:
        """The server has forgotten the conversation: nothing new, and soon the end."""
        if self.over:
            return
        self.over = True
        _log.warning("remote_session_lost", server=self.spec.name)
        asyncio.get_running_loop().call_later(LOST_S, self._end, "ended the conversation")

    def _end(self, how: str) -> None:
        self.over = True
        self._inbox.end(ChildGone(f"server {self.spec.name} {how}", None))

    def _reread(self) -> None:
        """Credentials may have been replaced since: use the new ones from now on."""
        with suppress(BadHeader):
            self._own = headers.read(self.spec.headers)

    def _start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        try:
            task = self._spawn(work)
        except RuntimeError:
            work.close()
            raise ChildGone("the agent is stopping", None) from None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
