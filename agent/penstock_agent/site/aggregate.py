"""All servers of a site as one child: a server of the handshake era towards the endpoint, the client of each
server towards them.

Nothing of a server is listed, called, read, subscribed to, completed or notified that its own expose list
does not show: the gate has judged by the site's names, and here it is judged again by the server's.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Final

import msgspec

from penstock.envelope import Kind, Message, dump, member, parse_child, replaced, text_member, with_id
from penstock.log import get
from penstock.outcome import INTERNAL, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, rpc_error
from penstock_agent.children.child import ChildGone
from penstock_agent.children.lines import Oversize
from penstock_agent.endpoint import failures
from penstock_agent.endpoint.failures import Failure
from penstock_agent.endpoint.held import Held, Share
from penstock_agent.endpoint.lifeline import NotRunning
from penstock_agent.endpoint.meta import CHANGED
from penstock_agent.endpoint.ports import Children, Spawn
from penstock_agent.endpoint.session.correlate import MAX_ASKED
from penstock_agent.gate import read
from penstock_agent.gate.definitions import Definitions
from penstock_agent.gate.expose import Expose, Item
from penstock_agent.gate.methods import COMPLETE, LISTS, REFERENCES, UPDATED, USES
from penstock_agent.gate.view import Denied, View
from penstock_agent.site import status
from penstock_agent.site.asking import CAPABILITY, Asking
from penstock_agent.site.beginning import Beginning
from penstock_agent.site.client import SET_LEVEL, Client
from penstock_agent.site.names import STATUS, Shortened, Target
from penstock_agent.site.questions import CANCELLED, PROGRESS
from penstock_agent.site.spec import SiteSpec

OUT_BYTES: Final = 1 << 20
"""Bytes of servers that wait to be received; above it no server is read."""
MAX_SUBSCRIBED: Final = 4096
"""Subscriptions whose server is remembered."""
INITIALIZED: Final = "notifications/initialized"
TASK_STATUS: Final = "notifications/tasks/status"
CHANGES: Final[Mapping[str, Item]] = {
    CHANGED["tools"]: Item.TOOL,
    CHANGED["prompts"]: Item.PROMPT,
    CHANGED["resources"]: Item.RESOURCE,
}
_NOTHING: Final = Expose()
_NO_METHOD: Final = (
    "The site's endpoint for all servers has no such method. Use the URL of one server for it."
)

_encode = msgspec.json.Encoder().encode
_log = get(__name__)


class Aggregate:
    """A child (:class:`penstock_agent.endpoint.ports.Child`). Its servers are started by ``initialize``, so
    that who only asks what is spoken here starts none of them.
    """

    def __init__(
        self,
        spec: SiteSpec,
        children: Children,
        spawn: Spawn,
        since: Callable[[], float] = time.time,
        late: set[str] | None = None,
        definitions: Definitions | None = None,
    ) -> None:
        """``since``: since when the site is online, in seconds since 1970. ``late``: servers that were too
        late for the last session that began, for all sessions of the site. ``definitions``: what was approved
        of what they offer.
        """
        self.spec = spec
        self._spawn = spawn
        self._since = since
        self._held = Share(Held(OUT_BYTES), OUT_BYTES)
        asked = max(1, MAX_ASKED // len(spec.members))
        self._clients = [
            Client(one, children, self, self._held, spawn, asked=asked, definitions=definitions)
            for one in spec.members
        ]
        self._by_name = {client.name: client for client in self._clients}
        self._beginning = Beginning(spec, self._clients, set() if late is None else late)
        self._asking = Asking(self._clients, spec.names, status=spec.status)
        self._out: deque[bytes] = deque()
        self._more = asyncio.Event()
        self._begun = self._greeted = self._over = False
        self._jobs: dict[bytes, asyncio.Task[None]] = {}
        self._subscribed: dict[str, Client] = {}

    # The child.

    async def send(self, line: bytes) -> None:
        """Take one message of the endpoint. Raises ChildGone after ``stop``."""
        if self._over:
            raise ChildGone("the site's endpoint was stopped by the agent", None)
        message = parse_child(line)
        if message.kind is Kind.REQUEST:
            await self._asked(message)
        elif message.kind is Kind.NOTIFICATION:
            await self._told(message)
        else:
            for client in self._clients:
                if await client.answer(message):
                    return

    async def receive(self) -> bytes | Oversize:
        """The next message for the endpoint. Raises ChildGone after ``stop``."""
        while not self._out:
            if self._over:
                raise ChildGone("the site's endpoint was stopped by the agent", None)
            self._more.clear()
            await self._more.wait()
        line = self._out.popleft()
        self._held.give(len(line))
        return line

    async def stop(self) -> None:
        """Nothing of it runs then. Idempotent."""
        self._over = True
        while self._out:
            self._held.give(len(self._out.popleft()))
        for job in list(self._jobs.values()):
            job.cancel()
        self._more.set()
        running = [task for client in self._clients for task in client.end()]
        if running:
            await asyncio.wait(running)

    def _push(self, line: bytes) -> None:
        if not self._over:
            self._held.take(len(line))
            self._out.append(line)
            self._more.set()

    # What the endpoint sends.

    async def _asked(self, message: Message) -> None:
        method = message.method or ""
        if method == "ping":
            self._result(message, b"{}")
        elif method == "initialize":
            self._initialize(message)
        elif method not in LISTS and method not in USES and method not in (COMPLETE, SET_LEVEL):
            # Among them server/discover: this child is of the handshake era.
            self._push(rpc_error(message.id, METHOD_NOT_FOUND, _NO_METHOD))
        elif not self._begun:
            self._push(rpc_error(message.id, INVALID_REQUEST, "Send initialize first."))
        elif method in LISTS:
            self._job(message, self._asking.page(message))
        elif method == SET_LEVEL:
            self._job(message, self._asking.level(message))
        elif method == COMPLETE:
            await self._completion(message)
        elif USES[method][0] is Item.RESOURCE:
            await self._resource(message, text_member(message.params or b"", "uri"))
        else:
            item, key = USES[method]
            await self._item(message, item, text_member(message.params or b"", key), key)

    async def _told(self, message: Message) -> None:
        params = message.params
        if message.method == CANCELLED:
            id = None if params is None else member(params, "requestId")
            job = None if id is None else self._jobs.get(id)
            if job is not None:
                job.cancel()
            elif not any(client.cancel(params) for client in self._clients):
                return
        elif message.method == PROGRESS:
            token = None if params is None else member(params, "progressToken")
            if params is not None and token is not None:
                for client in self._clients:
                    await client.progress(token, params)
        else:
            async with (
                asyncio.TaskGroup() as tasks
            ):  # one that does not read must not keep it from the others
                for client in self._clients:
                    tell = client.initialized if message.method == INITIALIZED else client.tell
                    tasks.create_task(tell(message))

    async def _item(self, message: Message, item: Item, name: str | None, *path: str) -> None:
        """A tool or a prompt, named by the member ``path`` of the params."""
        if name == STATUS and item is Item.TOOL and self.spec.status:
            self._job(message, status.answer(self._asking, self._since()))
            return
        meant = None if name is None else self._asking.meant(item, name)
        client = None if meant is None else self._by_name.get(meant.server)
        if client is None or meant is None:
            self._deny(message, item)
        elif isinstance(meant, Shortened):
            self._job(message, self._by_list(message, item, meant, client, path))
        elif self._may(message, client, item, meant.name):
            await self._give(message, client, _renamed(message, meant, path))

    async def _by_list(
        self, message: Message, item: Item, short: Shortened, client: Client, path: Sequence[str]
    ) -> Message | Failure | None:
        meant = await self._asking.lengthened(item, short, client)
        if meant is None:
            self._deny(message, item)
            return None
        if not self._may(message, client, item, meant.name):
            return None
        return await client.ask(_renamed(message, meant, path))

    async def _resource(self, message: Message, uri: str | None) -> None:
        able = []
        for client in self._clients if uri is not None else ():
            detail = (
                "subscribe" if message.method in ("resources/subscribe", "resources/unsubscribe") else None
            )
            capability = "completions" if message.method == COMPLETE else "resources"
            if client.expose.shows(Item.RESOURCE, uri or "") and client.offers(capability, detail):
                able.append(client)
        if uri is None or not able:
            self._deny(message, Item.RESOURCE)
            return
        if message.method == "resources/unsubscribe":
            able = [self._subscribed.pop(uri, able[0])]
        owner = self._asking.known.owner(uri, [client.name for client in able])
        if owner is not None or len(able) == 1:
            client = able[0] if owner is None else self._by_name[owner]
            if message.method == "resources/subscribe":
                self._subscribe(uri, client)
            await self._give(message, client, message)
        else:
            self._job(message, self._somewhere(message, uri, able))

    async def _somewhere(self, message: Message, uri: str, able: Sequence[Client]) -> Message | Failure:
        answer = await self._asking.resource(message, uri, able)
        owner = self._asking.known.owner(uri, [client.name for client in able])
        if message.method == "resources/subscribe" and owner is not None:
            self._subscribe(uri, self._by_name[owner])
        return answer

    async def _completion(self, message: Message) -> None:
        reference = member(message.params or b"", "ref") or b""
        known = REFERENCES.get(text_member(reference, "type") or "")
        if known is None:
            self._push(rpc_error(message.id, INVALID_PARAMS, "The completion names nothing to complete."))
        elif known[0] is Item.RESOURCE:
            await self._resource(message, text_member(reference, known[1]))
        else:
            await self._item(message, known[0], text_member(reference, known[1]), "ref", known[1])

    async def _give(self, message: Message, client: Client, asked: Message) -> None:
        try:
            await client.give(asked, lambda answer: self._answer(message, answer))
        except NotRunning as e:
            self._answer(message, e.failure)

    def _subscribe(self, uri: str, client: Client) -> None:
        self._subscribed[uri] = client
        while len(self._subscribed) > MAX_SUBSCRIBED:
            del self._subscribed[next(iter(self._subscribed))]

    # Whether it may.

    def _may(self, message: Message, client: Client, item: Item, plain: str) -> bool:
        verdict = View(client.expose, None, ()).judge(item, plain)
        text = verdict.text if isinstance(verdict, Denied) else client.approved.refusal(item, plain)
        if text is not None:
            self._answer(message, failures.denied(text))
        return text is None

    def _deny(self, message: Message, item: Item) -> None:
        verdict = View(_NOTHING, None, ()).judge(item, None)
        if isinstance(verdict, Denied):
            self._answer(message, failures.denied(verdict.text))

    # The beginning.

    def _initialize(self, message: Message) -> None:
        if self._begun:
            self._push(rpc_error(message.id, INVALID_REQUEST, "This server has been initialized already."))
            return
        self._begun = True
        for client in self._clients:
            client.begin(message)
        self._job(message, self._greet())

    async def _greet(self) -> bytes | Failure:
        found = await self._beginning.greeting()
        self._greeted = isinstance(found, bytes)
        return found

    # What servers say: the clients' owner.

    def settled(self, client: Client) -> None:
        self._beginning.settled(client)
        if not client.up or not client.missed or not self._greeted:
            return
        client.missed = False
        self._asking.known.changed(client.name)
        for method, item in CHANGES.items():
            if client.exposes(item) and client.offers(CAPABILITY[item]):
                self._push(dump(Message(Kind.NOTIFICATION, None, method, None, None, None)))

    def said(self, client: Client, message: Message) -> None:
        if message.kind is Kind.NOTIFICATION:
            if (item := CHANGES.get(message.method or "")) is not None:
                if item is Item.RESOURCE:
                    self._asking.known.changed(client.name)
                if not client.exposes(item):
                    return
            elif message.method == UPDATED:
                uri = None if message.params is None else read.name_of(message.params, "uri")
                if uri is None or not client.expose.shows(Item.RESOURCE, uri):
                    return
                if self._subscribed.get(uri, client) is not client:
                    return
            elif message.method == TASK_STATUS:
                return
        self._push(dump(message))

    # Answers.

    def _job(
        self, message: Message, work: Coroutine[object, object, bytes | Message | Failure | None]
    ) -> None:
        """Something that takes several questions: answered later, and ended by the caller's cancelling."""

        async def run() -> None:
            try:
                found = await work
                if isinstance(found, bytes):
                    self._result(message, found)
                elif found is not None:
                    self._answer(message, found)
            except Exception as e:  # one request's trouble must not be that of the others
                _log.error("request_of_site_failed", method=message.method, error=type(e).__name__)
                self._push(rpc_error(message.id, INTERNAL, ""))

        try:
            task = self._spawn(run())
        except BaseException:
            work.close()
            raise
        id = message.id or b""
        self._jobs[id] = task

        def ended(task: asyncio.Task[None]) -> None:
            work.close()  # where it was cancelled before it began
            if self._jobs.get(id) is task:
                del self._jobs[id]

        task.add_done_callback(ended)

    def _answer(self, message: Message, answer: Message | Failure) -> None:
        if isinstance(answer, Failure):
            self._push(answer.answer(message, "")[1])
        else:
            self._push(dump(with_id(answer, message.id)))

    def _result(self, message: Message, result: bytes) -> None:
        self._push(dump(Message(Kind.RESPONSE, message.id, None, None, result, None)))


def _renamed(message: Message, target: Target, path: Sequence[str]) -> Message:
    return replace(message, params=replaced(message.params or b"{}", _encode(target.name), *path))
