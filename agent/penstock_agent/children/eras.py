"""Which eras of MCP a server speaks: asked once, of processes that serve nobody.

A process may settle for the era of the first request that it gets, so each question has one of its own. See
2026-07-28, basic/transports/stdio, Backward Compatibility.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Final, Protocol

import msgspec

from penstock import __version__, envelope, http
from penstock.envelope import EnvelopeError, Kind, Message
from penstock.log import get
from penstock_agent.children.child import ChildGone, ChildSpec
from penstock_agent.children.lines import Oversize

HANDSHAKE_VERSION: Final = "2025-11-25"
MODERN_VERSIONS: Final = http.MODERN
"""Versions of the modern era that this agent speaks."""
UNSUPPORTED_VERSION: Final = -32022

SILENCE_S: Final = 7.0
"""After so long without an answer to ``server/discover``, the same process is sent ``initialize``."""
START_S: Final = 120.0
"""For all of it: a first start may download the server."""

HANDSHAKE_KEPT_S: Final = 3600.0
"""A server that was not modern is asked again after so long: it may have been upgraded where it stands. (One
that was modern and is no more shows it when it is started.)"""

_log = get(__name__)


class Era(Enum):
    """What a server speaks."""

    HANDSHAKE = "handshake"
    MODERN = "modern"
    DUAL = "dual"

    @property
    def modern(self) -> bool:
        return self is not Era.HANDSHAKE

    @property
    def handshake(self) -> bool:
        return self is not Era.MODERN


class EraUnknown(Exception):
    """The server answered nothing that says; nothing was executed. The text names the cause."""


class Lines(Protocol):
    async def send(self, line: bytes) -> None: ...

    async def receive(self) -> bytes | Oversize: ...


class Process(Lines, Protocol):
    async def stop(self) -> None: ...


class Starter(Protocol):
    """See :class:`penstock_agent.children.pool.Children`, whose errors this raises."""

    async def start(self, spec: ChildSpec, /) -> Process: ...


# Pure ----------------------------------------------------------------------------------------------------


def envelope_meta() -> dict[str, object]:
    """The ``_meta`` of a modern request that the agent makes for itself."""
    return {
        envelope.VERSION_KEY: MODERN_VERSIONS[0],
        "io.modelcontextprotocol/clientInfo": {"name": "penstock-agent", "version": __version__},
        "io.modelcontextprotocol/clientCapabilities": {},
    }


def discover(id: bytes) -> Message:
    """The question whether a server is modern."""
    return envelope.request(id, "server/discover", msgspec.json.encode({"_meta": envelope_meta()}))


def initialize(id: bytes) -> Message:
    """The question whether a server speaks the handshake era."""
    hello = {
        "protocolVersion": HANDSHAKE_VERSION,
        "capabilities": {},
        "clientInfo": {"name": "penstock-agent", "version": __version__},
    }
    return envelope.request(id, "initialize", msgspec.json.encode(hello))


def says_modern(answer: Message) -> bool:
    """Whether this answer to ``server/discover`` is one of a server that we can speak the modern era with.

    That is a result, or the one error of that era, which names a version that we know.
    """
    if answer.kind is Kind.RESPONSE:
        return _names_ours(answer.result, "supportedVersions")
    return refuses_version(answer) and _names_ours(answer.error, "data", "supported")


def refuses_version(answer: Message) -> bool:
    """Whether it is the error of the modern era about the version of a request."""
    return answer.error is not None and envelope.member(answer.error, "code") == b"%d" % UNSUPPORTED_VERSION


def _names_ours(raw: bytes | None, *path: str) -> bool:
    found = None if raw is None else envelope.member(raw, *path)
    try:
        versions = [] if found is None else msgspec.json.decode(found, type=list[str])
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return False
    return any(version in MODERN_VERSIONS for version in versions)


# Asking --------------------------------------------------------------------------------------------------


async def probe(children: Starter, spec: ChildSpec) -> Era:
    """Ask a server. Raises :exc:`EraUnknown`, and what starting a child raises.

    Silence, and every error but the one of the modern era, mean the handshake era.
    """
    try:
        async with asyncio.timeout(START_S):
            modern = await _asked_first(children, spec)
            if modern is None:
                # Some end at a request before initialize. One that ends at initialize, too, is just broken.
                if await _handshakes(children, spec, START_S):
                    return Era.HANDSHAKE
                raise EraUnknown("It ended before it had answered anything.")
            if not modern:
                return Era.HANDSHAKE
            return Era.DUAL if await _handshakes(children, spec, SILENCE_S) else Era.MODERN
    except TimeoutError:
        raise EraUnknown(f"It answered nothing within {START_S:g} s.") from None


async def is_modern(child: Lines) -> bool:
    """Whether a process that was just started is modern; it is ready for its first request then.

    Waits for as long as that takes. Raises :exc:`~penstock_agent.children.child.ChildGone`.
    """
    asked = _Asked(child)
    await asked.send(discover(b"1"))
    return says_modern(await asked.answer())


async def _asked_first(children: Starter, spec: ChildSpec) -> bool | None:
    """Whether the server is modern, by a process whose first request is ``server/discover``.

    A slow start looks like silence. So one that is silent is sent ``initialize`` as well, and whichever is
    answered first decides. None when the process ended.
    """
    async with _Process(children, spec) as asked:
        try:
            await asked.send(discover(b"1"))
            try:
                async with asyncio.timeout(SILENCE_S):
                    answer = await asked.answer()
            except TimeoutError:
                await asked.send(initialize(b"2"))
                answer = await asked.answer()
        except ChildGone:
            return None
    if answer.id == b"2":
        return refuses_version(answer) and _names_ours(answer.error, "data", "supported")
    return says_modern(answer)


async def _handshakes(children: Starter, spec: ChildSpec, wait_s: float) -> bool:
    """Whether a fresh process accepts ``initialize``."""
    async with _Process(children, spec) as asked:
        try:
            async with asyncio.timeout(wait_s):
                await asked.send(initialize(b"1"))
                answer = await asked.answer()
        except (ChildGone, TimeoutError):
            return False
    return answer.kind is Kind.RESPONSE


class _Process:
    """A throw-away process."""

    def __init__(self, children: Starter, spec: ChildSpec) -> None:
        self._children = children
        self._spec = spec
        self._child: Process | None = None

    async def __aenter__(self) -> _Asked:
        self._child = await self._children.start(self._spec)
        return _Asked(self._child)

    async def __aexit__(self, *_: object) -> None:
        if self._child is not None:
            await self._child.stop()


class _Asked:
    """A process that nobody else talks to."""

    def __init__(self, child: Lines) -> None:
        self._child = child

    async def send(self, message: Message) -> None:
        await self._child.send(envelope.dump(message))

    async def answer(self) -> Message:
        """The next answer to one of our questions; everything else that the process says is dropped."""
        while True:
            line = await self._child.receive()
            if isinstance(line, Oversize):
                continue
            try:
                message = envelope.parse_child(line)
            except EnvelopeError:
                continue
            if message.kind in (Kind.RESPONSE, Kind.ERROR) and message.id in (b"1", b"2"):
                return message


class Eras:
    """What is known. Probes are tasks of ``spawn``: who asked first may go, others still wait for it."""

    def __init__(
        self,
        children: Starter,
        spawn: Callable[[Coroutine[object, object, None]], asyncio.Task[None]],
    ) -> None:
        self._children = children
        self._spawn = spawn
        self._known: dict[str, tuple[ChildSpec, Era, float]] = {}
        self._asking: dict[str, tuple[ChildSpec, asyncio.Future[Era]]] = {}

    def known(self, spec: ChildSpec) -> Era | None:
        """What this configuration of the server speaks, if it was asked already."""
        found = self._known.get(spec.name)
        if found is None:
            return None
        asked, era, at = found
        old = era is Era.HANDSHAKE and _now() - at > HANDSHAKE_KEPT_S
        return era if asked == spec and not old else None

    def lately(self, spec: ChildSpec) -> Era | None:
        """What it spoke when it was asked last, however long ago that is."""
        found = self._known.get(spec.name)
        return found[1] if found is not None and found[0] == spec else None

    def forget(self, server: str) -> None:
        """What is known has proved wrong: ask again when somebody needs to know."""
        self._known.pop(server, None)

    async def of(self, spec: ChildSpec) -> Era:
        """What the server speaks, asking it if need be. Raises as ``probe``; a failure is not kept."""
        if (era := self.known(spec)) is not None:
            return era
        asking = self._asking.get(spec.name)
        if asking is None or asking[0] != spec:
            found: asyncio.Future[Era] = asyncio.get_running_loop().create_future()
            # Whether anybody still waits when it fails is left open.
            found.add_done_callback(lambda done: None if done.cancelled() else done.exception())
            asking = self._asking[spec.name] = (spec, found)
            try:
                self._spawn(self._run(spec, found))
            except BaseException:
                del self._asking[spec.name]
                raise
        return await asyncio.shield(asking[1])

    async def _run(self, spec: ChildSpec, found: asyncio.Future[Era]) -> None:
        try:
            era = await probe(self._children, spec)
        except Exception as error:  # whoever waits gets it, whatever it is
            found.set_exception(error)
        except BaseException:
            found.cancel()
            raise
        else:
            _log.info("era_found", server=spec.name, era=era.value)
            self._known[spec.name] = (spec, era, _now())
            found.set_result(era)
        finally:
            asking = self._asking.get(spec.name)
            if asking is not None and asking[1] is found:
                del self._asking[spec.name]


def _now() -> float:
    return asyncio.get_running_loop().time()
