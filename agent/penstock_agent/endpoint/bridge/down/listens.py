"""``subscriptions/listen`` of callers, over what a server of the handshake era says by itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from penstock.envelope import Kind, Message, dump, members, notification, parse_child, request, text_member
from penstock.outcome import INVALID_PARAMS, rpc_error
from penstock_agent.endpoint import inbound
from penstock_agent.endpoint.answers import Answer, reply
from penstock_agent.endpoint.bridge.down.rooms import Room
from penstock_agent.endpoint.meta import CHANGED, SUBSCRIPTION
from penstock_agent.endpoint.shared import Shared
from penstock_agent.endpoint.streams import Item, Stream
from penstock_agent.endpoint.watch import Watch
from penstock_agent.exchange import Exchange, ExchangeGone

#: Subscriptions of callers to one room; more are refused.
MAX_LISTENS: Final = 16
#: Resources of one of them; what is above is not acknowledged.
MAX_URIS: Final = 256

#: What a filter names, the notification that it means, and the capability that the server must have.
_CHANGES: Final[Mapping[str, tuple[str, str]]] = {
    f"{kind}ListChanged": (method, kind) for kind, method in CHANGED.items()
}
_UPDATED: Final = "notifications/resources/updated"
_ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"


class _Filter(msgspec.Struct):
    tools: bool | None = msgspec.field(default=None, name="toolsListChanged")
    prompts: bool | None = msgspec.field(default=None, name="promptsListChanged")
    resources: bool | None = msgspec.field(default=None, name="resourcesListChanged")
    uris: list[str] | None = msgspec.field(default=None, name="resourceSubscriptions")

    def names(self, change: str) -> bool:
        """Whether this member of the filter is true."""
        told = {
            "toolsListChanged": self.tools,
            "promptsListChanged": self.prompts,
            "resourcesListChanged": self.resources,
        }
        return told[change] is True


class _Params(msgspec.Struct):
    notifications: _Filter


@dataclass(slots=True, eq=False)
class _Listen:
    """What one caller is told."""

    id: bytes
    methods: frozenset[str]
    uris: frozenset[str]
    stream: Stream

    def wants(self, message: Message) -> bool:
        if message.method == _UPDATED:
            return text_member(message.params or b"{}", "uri") in self.uris
        return message.method in self.methods

    def tagged(self, method: str, params: bytes | None) -> bytes:
        found = members(params or b"{}") or {}
        # A server may say what is no object there, and nobody could read the tag then.
        meta = members(bytes(found.get("_meta", msgspec.Raw(b"{}")))) or {}
        meta[SUBSCRIPTION] = msgspec.Raw(self.id)
        found["_meta"] = msgspec.Raw(msgspec.json.encode(meta))
        return dump(notification(method, msgspec.json.encode(found)))


@dataclass(slots=True, eq=False)
class _Heard:
    """Everything that one room is listened to for."""

    listens: list[_Listen] = field(default_factory=list)
    uris: Counter[str] = field(default_factory=Counter)
    also: set[str] = field(default_factory=set)
    """Resources that are subscribed to here for those who listen elsewhere, when a call last ran here."""
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    task: asyncio.Task[None] | None = None


class Listens:
    """One per endpoint."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._heard: dict[Room, _Heard] = {}

    def closed(self, room: Room) -> None:
        """The room has ended: so do those who listen there, and they are told."""
        heard = self._heard.pop(room, None)
        if heard is None:
            return
        for listen in heard.listens:
            meta = {SUBSCRIPTION: msgspec.Raw(listen.id)}
            result = msgspec.json.encode({"resultType": "complete", "_meta": meta})
            listen.stream.finish(dump(Message(Kind.RESPONSE, listen.id, None, None, result, None)))

    def overheard(self, room: Room, message: Message) -> None:
        """A room has said something: its caller is told, wherever it listens."""
        if message.method is None:
            return
        for heard in self._of_same_caller(room):
            for listen in heard.listens:
                if listen.wants(message):
                    listen.stream.put(listen.tagged(message.method, message.params), droppable=True)

    async def everywhere(self, room: Room, until: float) -> None:
        """A call is about to run in this room: what it changes shall be heard by who listens in another one,
        which is another process of the server. Raises NotRunning.
        """
        uris = {uri: None for other in self._of_same_caller(room) for uri in other.uris}
        if not any(other.listens for other in self._of_same_caller(room)):
            return
        heard = self._heard.setdefault(room, _Heard())
        if heard.task is None:
            heard.task = self._hear(room, heard)
        if unwanted := heard.also - uris.keys():
            heard.also -= unwanted
            self._shared.spawn(self._leave(room, heard, unwanted))
        for uri in uris:
            if uri not in heard.uris and uri not in heard.also and room.offers("resources", "subscribe"):
                heard.also.add(uri)
                await room.ask("resources/subscribe", msgspec.json.encode({"uri": uri}), until)

    def _of_same_caller(self, room: Room) -> list[_Heard]:
        session = room.session
        return [
            heard
            for other, heard in self._heard.items()
            if other.session.server == session.server
            and other.session.principal.identity == session.principal.identity
        ]

    async def serve(self, exchange: Exchange, message: Message, room: Room, until: float) -> None:
        """One subscription, until its caller goes or the room ends. Raises NotRunning."""
        try:
            wanted = msgspec.json.decode(message.params or b"{}", type=_Params).notifications
        except (msgspec.DecodeError, RecursionError):
            text = "params.notifications must say what to listen for."
            await reply(exchange, 400, rpc_error(message.id, INVALID_PARAMS, text))
            return
        heard = self._heard.setdefault(room, _Heard())
        if len(heard.listens) >= MAX_LISTENS:
            text = f"There are {MAX_LISTENS} subscriptions already: end one, or listen for more in one."
            await reply(exchange, 400, rpc_error(message.id, INVALID_PARAMS, text))
            return
        assert message.id is not None  # noqa: S101 - a request has an id, says the parser
        stream = room.session.stream(exchange.key, exchange.principal)
        listen = _Listen(message.id, frozenset(), frozenset(), stream)
        heard.listens.append(listen)
        uris: list[str] = []
        try:
            if heard.task is None:
                heard.task = self._hear(room, heard)
            names = [
                name
                for name, (_, capability) in _CHANGES.items()
                if wanted.names(name) and room.offers(capability, "listChanged")
            ]
            listen.methods = frozenset(_CHANGES[name][0] for name in names)
            for uri in dict.fromkeys((wanted.uris or [])[:MAX_URIS]):
                if await self._subscribe(exchange, room, heard, uri, until):
                    uris.append(uri)
                    listen.uris = frozenset(uris)
            honoured: dict[str, object] = dict.fromkeys(names, True)
            if wanted.uris is not None:
                honoured["resourceSubscriptions"] = uris
            acknowledged = msgspec.json.encode({"notifications": honoured})
            answer = Answer(exchange)
            await answer.send(Item(listen.tagged(_ACKNOWLEDGED, acknowledged)))
            await self._tell(exchange, answer, stream)
        finally:
            stream.drain()
            if listen in heard.listens:
                heard.listens.remove(listen)
            for uri in uris:
                self._unsubscribe(room, heard, uri)

    async def _tell(self, exchange: Exchange, answer: Answer, stream: Stream) -> None:
        watch = Watch(exchange, stream, self._shared.spawn)
        try:
            while True:
                item = await stream.next(exchange.deadline)
                if item is not None:
                    stream.sent(item)
                    await answer.send(item)
                    if item.last:
                        return
                elif watch.reason is not None:
                    raise ExchangeGone(watch.reason)
                elif asyncio.get_running_loop().time() >= exchange.deadline:
                    await exchange.end()
                    return
        finally:
            watch.stop()

    def _hear(self, room: Room, heard: _Heard) -> asyncio.Task[None]:
        # At once: a session that ends before the task runs must find the stream that it has to close.
        stream = room.session.stream("")
        room.session.listen(stream)
        return self._shared.spawn(self._pass_on(room, heard, stream))

    async def _pass_on(self, room: Room, heard: _Heard, stream: Stream) -> None:
        """What the server says by itself, to all who want it; log messages to the call that runs alone."""
        try:
            while stream.open:
                item = await stream.next(float("inf"))
                if item is None:
                    continue
                stream.sent(item)
                message = parse_child(item.data)
                if message.kind is Kind.REQUEST or message.method == "notifications/message":
                    room.overhear(item.data)
                    continue
                self.overheard(room, message)
        finally:
            room.session.unlisten(stream)

    async def _subscribe(self, exchange: Exchange, room: Room, heard: _Heard, uri: str, until: float) -> bool:
        if not room.offers("resources", "subscribe"):
            return False
        params = msgspec.json.encode({"uri": uri})
        asked = request(b"0", "resources/subscribe", params)
        if await inbound.judge(self._shared, exchange, asked) is not None:
            return False
        async with heard.changing:
            if not heard.uris[uri] and not await room.ask("resources/subscribe", params, until):
                return False
            heard.uris[uri] += 1
        return True

    def _unsubscribe(self, room: Room, heard: _Heard, uri: str) -> None:
        heard.uris[uri] -= 1
        if heard.uris[uri] > 0:
            return
        del heard.uris[uri]
        if not room.session.ended:
            self._shared.spawn(self._leave(room, heard, (uri,)))

    async def _leave(self, room: Room, heard: _Heard, uris: Iterable[str]) -> None:
        async with heard.changing:
            for uri in uris:
                if not heard.uris[uri] and uri not in heard.also and not room.session.ended:
                    until = asyncio.get_running_loop().time() + self._shared.limits.commit_after
                    await room.quietly("resources/unsubscribe", msgspec.json.encode({"uri": uri}), until)
