"""Asks a child for its lists, in whichever era it speaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

import msgspec

from penstock import envelope
from penstock.envelope import EnvelopeError, Message
from penstock.envelope import Kind as MessageKind
from penstock_agent.catalogue.mirrored import mirrored
from penstock_agent.catalogue.offer import CatalogueError, Effect, Offer
from penstock_agent.children import eras
from penstock_agent.children.lines import Oversize
from penstock_agent.gate import read
from penstock_agent.gate.expose import Item as Kind
from penstock_agent.gate.overrides import Override

MAX_PAGES = 1000
MAX_ITEMS = 10_000
MAX_BYTES = 64 << 20
"""Of all pages of a list; one page is decoded before anything else of the agent has its turn."""


class Lines(Protocol):
    """A child, as far as a conversation needs one."""

    async def send(self, line: bytes) -> None: ...
    async def receive(self) -> bytes | Oversize: ...


class _Annotations(msgspec.Struct, frozen=True):
    title: str | None = None
    read_only: bool | None = msgspec.field(default=None, name="readOnlyHint")
    destructive: bool | None = msgspec.field(default=None, name="destructiveHint")
    open_world: bool | None = msgspec.field(default=None, name="openWorldHint")


class _Named(msgspec.Struct, frozen=True):
    name: str = ""
    uri: str = ""
    uri_template: str = msgspec.field(default="", name="uriTemplate")
    title: str | None = None
    description: str | None = None
    annotations: _Annotations | None = None
    input_schema: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="inputSchema")


class _Page(msgspec.Struct, frozen=True):
    tools: list[msgspec.Raw] = []
    prompts: list[msgspec.Raw] = []
    resources: list[msgspec.Raw] = []
    resource_templates: list[msgspec.Raw] = msgspec.field(default=[], name="resourceTemplates")
    next_cursor: str | None = msgspec.field(default=None, name="nextCursor")


class _Who(msgspec.Struct, frozen=True):
    name: str = ""
    version: str = ""


class _Greeting(msgspec.Struct, frozen=True):
    capabilities: dict[str, msgspec.Raw] = {}
    instructions: str | None = None
    version: str = msgspec.field(default="", name="protocolVersion")
    versions: list[str] = msgspec.field(default=[], name="supportedVersions")
    who: _Who = msgspec.field(default=_Who(), name="serverInfo")


_T = TypeVar("_T")


class Conversation:
    """A greeting and four lists, over the lines of one child."""

    def __init__(self, name: str, child: Lines, overrides: Mapping[str, Override] | None = None) -> None:
        """``overrides``: what the site says of tools in the place of the server."""
        self._name = name
        self._child = child
        self._overrides = overrides or {}
        self.instructions = ""
        """What the server told of itself when it was greeted."""
        self.who = ("", "")
        """Its name and version, in its own words."""
        self.versions: tuple[str, ...] = ()
        """The protocol revision that was agreed upon, or all that it speaks where it knows no handshake."""
        self._offered: dict[str, msgspec.Raw] | None = None
        self._last_id = 0
        self._meta: dict[str, object] | None = None
        """What each request says of itself, with a child that knows no handshake."""

    async def lists(self) -> list[Offer]:
        """Everything offered. Raises :exc:`CatalogueError` and what the child raises."""
        offered = await self.greet()
        items: list[Offer] = []
        if "tools" in offered:
            items += map(self._tool, await self._pages("tools/list", lambda page: page.tools))
        if "prompts" in offered:
            prompts = await self._pages("prompts/list", lambda page: page.prompts)
            items += [offer(Kind.PROMPT, raw, None, self._name) for raw in prompts]
        if "resources" in offered:
            resources = await self._pages("resources/list", lambda page: page.resources)
            found = [offer(Kind.RESOURCE, raw, None, self._name) for raw in resources]
            items += [msgspec.structs.replace(each, definition=b"") for each in found]
            templates = await self._pages("resources/templates/list", lambda page: page.resource_templates)
            items += [offer(Kind.RESOURCE, raw, None, self._name) for raw in templates]
        return items

    def _tool(self, raw: bytes) -> Offer:
        return offer(Kind.TOOL, raw, self._overrides.get(self._decode(raw, _Named).name), self._name)

    async def greet(self) -> dict[str, msgspec.Raw]:
        """The capabilities; greets once, and raises as ``lists`` does.

        A child that speaks both eras is greeted as in the older one: one more question to the many that do
        not would be one more for them to stumble over.
        """
        if self._offered is not None:
            return self._offered
        result = await self._request("initialize", eras.initialize(b"0").params)
        if result is not None:
            await self._child.send(envelope.dump(envelope.notification("notifications/initialized", None)))
            return self._greeted(result)
        self._meta = eras.envelope_meta()
        result = await self._request("server/discover", {})
        if result is None:
            raise CatalogueError(
                f"The server {self._name} refused initialize and server/discover. "
                "Does it speak MCP over stdio?"
            )
        return self._greeted(result)

    def _greeted(self, result: bytes) -> dict[str, msgspec.Raw]:
        greeting = self._decode(result, _Greeting)
        self.instructions = greeting.instructions or ""
        self.who = (greeting.who.name, greeting.who.version)
        self.versions = (greeting.version,) if greeting.version else tuple(greeting.versions)
        self._offered = greeting.capabilities
        return self._offered

    async def _pages(self, method: str, part: Callable[[_Page], list[msgspec.Raw]]) -> list[bytes]:
        found: list[bytes] = []
        cursor: str | None = None
        size = 0
        for _ in range(MAX_PAGES):
            result = await self._request(method, {} if cursor is None else {"cursor": cursor})
            if result is None:  # offered, but not implemented: resources/templates/list of many servers
                return found
            size += len(result)
            if size > MAX_BYTES or result.count(b",") > read.MAX_COMMAS:
                raise CatalogueError(f"The server {self._name} answers {method} with too much.")
            page = self._decode(result, _Page)
            found += map(bytes, part(page))
            if len(found) > MAX_ITEMS:
                raise CatalogueError(
                    f"The server {self._name} offers more than {MAX_ITEMS} items in {method}."
                )
            if not page.next_cursor:
                return found
            cursor = page.next_cursor
        raise CatalogueError(f"The server {self._name} answers {method} in more than {MAX_PAGES} pages.")

    async def _request(self, method: str, params: bytes | dict[str, object] | None) -> bytes | None:
        """The raw result; None when the server answers with an error."""
        self._last_id += 1
        id = b"%d" % self._last_id
        if isinstance(params, dict):
            params = msgspec.json.encode(params if self._meta is None else {**params, "_meta": self._meta})
        await self._child.send(envelope.dump(envelope.request(id, method, params)))
        while True:
            line = await self._child.receive()
            if isinstance(line, Oversize):
                continue
            try:
                message = envelope.parse_child(line)
            except EnvelopeError as e:
                if e.id == id:
                    raise CatalogueError(
                        f"The server {self._name} answered {method} with broken JSON."
                    ) from None
                continue  # a line that is not a message: many servers greet on their standard output
            if message.kind is MessageKind.REQUEST:
                await self._child.send(_to_server(message))
            elif message.id == id and message.kind is MessageKind.ERROR:
                return None
            elif message.id == id and message.result is not None:
                return message.result

    def _decode(self, raw: bytes, shape: type[_T]) -> _T:
        return _decoded(raw, shape, self._name)


def offer(kind: Kind, raw: bytes, override: Override | None = None, server: str = "") -> Offer:
    """One item of a list, with what the site says in its place. Raises :exc:`CatalogueError`."""
    one = _decoded(raw, _Named, server)
    if kind is not Kind.TOOL:
        name = one.uri or one.uri_template or one.name
        return Offer(kind, name, one.description or "", None, one.title or "", (), raw)
    if override is not None:
        one = _decoded(override.over(raw), _Named, server)
    hints = one.annotations
    title = one.title or (hints.title if hints is not None else None) or ""
    wanted = mirrored(bytes(one.input_schema))
    inside = hints is not None and hints.open_world is False
    return Offer(kind, one.name, one.description or "", _effect(hints), title, wanted, raw, inside)


def _decoded(raw: bytes, shape: type[_T], server: str) -> _T:
    try:
        return msgspec.json.decode(raw, type=shape)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise CatalogueError(f"The server {server} sent a list that is not one of MCP.") from None


def _to_server(request: Message) -> bytes:
    """Nobody is here to sample, elicit or list roots: answer pings, refuse the rest."""
    if request.method == "ping":
        return envelope.dump(Message(MessageKind.RESPONSE, request.id, None, None, b"{}", None))
    error = b'{"code":-32601,"message":"only lists are read in this session"}'
    return envelope.dump(Message(MessageKind.ERROR, request.id, None, None, None, error))


def _effect(hints: _Annotations | None) -> Effect:
    if hints is None or (hints.read_only is None and hints.destructive is None):
        return Effect.UNMARKED
    if hints.read_only:
        return Effect.READ
    # The specification's default: what is not read-only is destructive unless it says otherwise.
    return Effect.WRITE if hints.destructive is False else Effect.DESTRUCTIVE
