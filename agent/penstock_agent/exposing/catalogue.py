"""What a server offers: its lists, read once from a child that is thrown away afterwards."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from penstock import __version__, envelope
from penstock.envelope import EnvelopeError, Message
from penstock.envelope import Kind as MessageKind
from penstock_agent.children.child import Child, ChildGone, ChildStartError
from penstock_agent.children.environment import BadEnvironment, prepare
from penstock_agent.children.keeper import Keeper, KeeperError
from penstock_agent.children.lines import Oversize
from penstock_agent.config import ServerSettings
from penstock_agent.gate.expose import Item as Kind
from penstock_agent.problem import Problem, printable

PROTOCOL_VERSION = "2025-11-25"
#: Seconds for everything, from the start of the child: a first start may download the server.
TIMEOUT_S = 120.0
MAX_PAGES = 1000
MAX_ITEMS = 10_000


class CatalogueError(Problem):
    """The server could not say what it offers."""


class Effect(StrEnum):
    """What a tool says that it does. A claim of the server, not a fact."""

    READ = "read"
    WRITE = "write"
    DESTRUCTIVE = "destructive"
    UNMARKED = "unmarked"


class Offer(msgspec.Struct, frozen=True):
    """One tool, prompt or resource; for a resource the name is its URI or URI template."""

    kind: Kind
    name: str
    description: str = ""
    #: Only tools have one.
    effect: Effect | None = None


class Catalogue(msgspec.Struct, frozen=True):
    """Everything that one server offers, in its own order."""

    server: str
    items: list[Offer] = []

    def of(self, kind: Kind) -> list[Offer]:
        """The items of one kind."""
        return [item for item in self.items if item.kind is kind]


class Lines(Protocol):
    """A child, as far as a conversation needs one."""

    async def send(self, line: bytes) -> None: ...
    async def receive(self) -> bytes | Oversize: ...


async def read(name: str, server: ServerSettings, state_dir: Path) -> Catalogue:
    """Start ``server`` once, ask for its lists, stop it. Raises :exc:`CatalogueError`."""
    try:
        spec = prepare(state_dir, name, server.command, server.env, os.environ)
        keeper = await Keeper.start()
        try:
            child = await Child.start(spec, keeper)
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    return Catalogue(name, await Conversation(name, child).lists())
            finally:
                await child.stop()
        finally:
            await keeper.close()
    except TimeoutError:
        raise CatalogueError(
            f"The server {name} did not say what it offers within {TIMEOUT_S:g} s."
        ) from None
    except (ChildStartError, KeeperError, BadEnvironment) as e:
        raise CatalogueError(_sentence(str(e))) from None
    except ChildGone as e:
        how = "" if e.returncode is None else f" with status {e.returncode}"
        raise CatalogueError(
            f"The server {name} ended{how} before it said what it offers. "
            "Run its command by hand to see what it reports."
        ) from None
    except OSError as e:
        raise CatalogueError(
            f"The folder of the server {name} cannot be made in {state_dir}: {e.strerror}."
        ) from None


class _Annotations(msgspec.Struct, frozen=True):
    read_only: bool | None = msgspec.field(default=None, name="readOnlyHint")
    destructive: bool | None = msgspec.field(default=None, name="destructiveHint")


class _Named(msgspec.Struct, frozen=True):
    name: str = ""
    uri: str = ""
    uri_template: str = msgspec.field(default="", name="uriTemplate")
    description: str | None = None
    annotations: _Annotations | None = None


class _Page(msgspec.Struct, frozen=True):
    tools: list[_Named] = []
    prompts: list[_Named] = []
    resources: list[_Named] = []
    resource_templates: list[_Named] = msgspec.field(default=[], name="resourceTemplates")
    next_cursor: str | None = msgspec.field(default=None, name="nextCursor")


class _Initialized(msgspec.Struct, frozen=True):
    capabilities: dict[str, msgspec.Raw] = {}


_T = TypeVar("_T")


class Conversation:
    """A handshake and four lists, over the lines of one child."""

    def __init__(self, name: str, child: Lines) -> None:
        self._name = name
        self._child = child
        self._last_id = 0

    async def lists(self) -> list[Offer]:
        """Everything offered. Raises :exc:`CatalogueError` and what the child raises."""
        hello = {
            "protocolVersion": PROTOCOL_VERSION,
            "capabilities": {},
            "clientInfo": {"name": "penstock-agent", "version": __version__},
        }
        result = await self._request("initialize", hello)
        if result is None:
            raise CatalogueError(f"The server {self._name} refused initialize. Does it speak MCP over stdio?")
        offered = self._decode(result, _Initialized).capabilities
        await self._child.send(envelope.dump(envelope.notification("notifications/initialized", None)))
        items: list[Offer] = []
        if "tools" in offered:
            items += [_tool(t) for t in await self._pages("tools/list", lambda page: page.tools)]
        if "prompts" in offered:
            items += _items(Kind.PROMPT, await self._pages("prompts/list", lambda page: page.prompts))
        if "resources" in offered:
            items += _items(Kind.RESOURCE, await self._pages("resources/list", lambda page: page.resources))
            templates = await self._pages("resources/templates/list", lambda page: page.resource_templates)
            items += _items(Kind.RESOURCE, templates)
        return items

    async def _pages(self, method: str, part: Callable[[_Page], list[_Named]]) -> list[_Named]:
        found: list[_Named] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            result = await self._request(method, {} if cursor is None else {"cursor": cursor})
            if result is None:  # offered, but not implemented: resources/templates/list of many servers
                return found
            page = self._decode(result, _Page)
            found += part(page)
            if len(found) > MAX_ITEMS:
                raise CatalogueError(
                    f"The server {self._name} offers more than {MAX_ITEMS} items in {method}."
                )
            if not page.next_cursor:
                return found
            cursor = page.next_cursor
        raise CatalogueError(f"The server {self._name} answers {method} in more than {MAX_PAGES} pages.")

    async def _request(self, method: str, params: object) -> bytes | None:
        """The raw result; None when the server answers with an error."""
        self._last_id += 1
        id = b"%d" % self._last_id
        await self._child.send(envelope.dump(envelope.request(id, method, msgspec.json.encode(params))))
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
        try:
            return msgspec.json.decode(raw, type=shape)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            raise CatalogueError(f"The server {self._name} sent a list that is not one of MCP.") from None


def _to_server(request: Message) -> bytes:
    """Nobody is here to sample, elicit or list roots: answer pings, refuse the rest."""
    if request.method == "ping":
        return envelope.dump(Message(MessageKind.RESPONSE, request.id, None, None, b"{}", None))
    error = b'{"code":-32601,"message":"only lists are read in this session"}'
    return envelope.dump(Message(MessageKind.ERROR, request.id, None, None, None, error))


def _tool(tool: _Named) -> Offer:
    return Offer(Kind.TOOL, tool.name, tool.description or "", _effect(tool.annotations))


def _effect(hints: _Annotations | None) -> Effect:
    if hints is None or (hints.read_only is None and hints.destructive is None):
        return Effect.UNMARKED
    if hints.read_only:
        return Effect.READ
    # The specification's default: what is not read-only is destructive unless it says otherwise.
    return Effect.WRITE if hints.destructive is False else Effect.DESTRUCTIVE


def _items(kind: Kind, found: Iterable[_Named]) -> list[Offer]:
    return [Offer(kind, one.uri or one.uri_template or one.name, one.description or "") for one in found]


def _sentence(text: str) -> str:
    text = printable(text, 500)
    return text if text.endswith(".") else f"{text}."
