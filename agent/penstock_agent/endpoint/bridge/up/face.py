"""The processes that sessions talk to: all speak the handshake era, some of them through an interpreter.

A session begins with ``initialize``. A server that refuses it is asked whether it is a modern one, in the
same process; what it is, is remembered, so that the next process is asked at once. A server that takes it is
talked to without anything between.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final

from penstock.envelope import EnvelopeError, Kind, Message, dump, member, parse_child
from penstock.log import get
from penstock.outcome import INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND
from penstock_agent.children import eras
from penstock_agent.children.child import ChildGone, ChildSpec
from penstock_agent.children.inbox import Inbox
from penstock_agent.children.lines import Oversize
from penstock_agent.endpoint.bridge.up.interpreter import Interpreter
from penstock_agent.endpoint.bridge.up.out import Out
from penstock_agent.endpoint.ports import Child, Children, Spawn, Stopping

PATIENCE_S: Final = 7.0
"""For the answer of a server that has refused ``initialize`` to the question what it is, then."""
TELLING_S: Final = 5.0
"""For a process to take in what nobody waits for."""
TELLING: Final = 64
"""Messages that wait to be taken in by one process; further ones are dropped."""

_UNKNOWN: Final = (eras.UNSUPPORTED_VERSION, METHOD_NOT_FOUND, INVALID_PARAMS, INVALID_REQUEST)
_QUESTION: Final = b'"penstock-discover"'

_log = get(__name__)


class Faces:
    """The children of the agent, as sessions see them."""

    def __init__(self, children: Children, spawn: Spawn) -> None:
        self._children = children
        self._spawn = spawn
        self._modern: dict[str, ChildSpec] = {}

    async def start(self, spec: ChildSpec, /) -> Child:
        child = await self._children.start(spec)
        return Face(child, spec, self._spawn, self._modern)

    def restart_delay(self, server: str, /) -> float:
        return self._children.restart_delay(server)

    def worked(self, server: str, /) -> None:
        self._children.worked(server)

    def forget(self, server: str, /) -> None:
        self._modern.pop(server, None)
        self._children.forget(server)


class Face:
    """One process. ``modern``, shared by all, holds the servers that were found to be modern ones."""

    def __init__(self, child: Child, spec: ChildSpec, spawn: Spawn, modern: dict[str, ChildSpec]) -> None:
        self._child = child
        self._spec = spec
        self._spawn = spawn
        self._modern = modern
        self._settled = False
        """Whether nothing stands between the process and its session."""
        self._hello: Message | None = None
        self._supposed = False
        """Whether the process was asked what it is in the place of being greeted, and has not answered."""
        self._interpreter: Interpreter | None = None
        self._inbox = Inbox()
        self._reader: asyncio.Task[None] | None = None
        self._telling = 0

    @property
    def bare(self) -> Child | None:
        """The process itself, once nothing stands between; who has it may leave this aside."""
        return self._child if self._settled else None

    async def send(self, line: bytes) -> None:
        if self._settled:
            await self._child.send(line)
            return
        message = parse_child(line)
        if self._interpreter is not None:
            out = self._interpreter.from_client(message)
            self._tell_client(out)
            for each in out.server:
                await self._child.send(dump(each))
            self._later(out)
            return
        if message.kind is Kind.REQUEST and message.method == "initialize":
            self._hello = message
            self._supposed = self._modern.get(self._spec.name) == self._spec
            if self._supposed:
                line = dump(eras.discover(_QUESTION))
        await self._child.send(line)

    async def receive(self) -> bytes | Oversize:
        if self._settled:
            return await self._child.receive()
        if self._interpreter is not None:
            return await self._inbox.get()
        line = await self._child.receive()
        answer = None if self._hello is None or isinstance(line, Oversize) else _answer(line)
        if answer is None or self._hello is None:
            return line
        if self._supposed and answer.id == _QUESTION:
            self._supposed = False
            if (greeting := self._becomes_modern(self._hello, answer)) is not None:
                return greeting
            self._modern.pop(self._spec.name, None)
            await self._child.send(dump(self._hello))
            return await self.receive()
        if answer.id != self._hello.id:
            return line
        if _may_be_modern(answer) and (greeting := await self._asked(self._hello)) is not None:
            return greeting
        self._settled = True
        return line

    async def stop(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
        await self._child.stop()
        self._inbox.end(ChildGone("It was stopped.", None))

    # Which it is.

    async def _asked(self, hello: Message) -> bytes | None:
        """What the session is told of a server that has refused ``initialize`` for being a modern one."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._child.send(dump(eras.discover(_QUESTION)))
                while True:
                    line = await self._child.receive()
                    answer = None if isinstance(line, Oversize) else _answer(line)
                    if answer is not None and answer.id == _QUESTION:
                        return self._becomes_modern(hello, answer)
        except TimeoutError:
            return None

    def _becomes_modern(self, hello: Message, answer: Message) -> bytes | None:
        if answer.result is None or not eras.says_modern(answer):
            return None
        try:
            self._interpreter = Interpreter(self._spec.name, hello, answer.result, _mint)
            greeting = self._interpreter.greeting()
            self._reader = self._spawn(self._read(self._interpreter))
        except (ValueError, Stopping):
            self._interpreter = None
            return None
        if self._modern.get(self._spec.name) != self._spec:
            _log.info("server_is_modern", server=self._spec.name)
            self._modern[self._spec.name] = self._spec
        return greeting

    # Through the interpreter.

    async def _read(self, interpreter: Interpreter) -> None:
        gone = ChildGone("It was stopped.", None)
        try:
            while True:
                line = await self._child.receive()
                try:
                    message = None if isinstance(line, Oversize) else parse_child(line)
                except EnvelopeError:
                    message = None
                if message is None:
                    await self._inbox.put(line)  # the session knows what to make of it
                    continue
                out = interpreter.from_server(message)
                for told in out.client:
                    await self._inbox.put(told)
                for each in out.server:
                    self._tell_server(each)
                self._later(out)
        except ChildGone as e:
            gone = e
        finally:
            self._inbox.end(gone)

    def _tell_client(self, out: Out) -> None:
        for line in out.client:
            self._inbox.put_now(line)

    def _tell_server(self, message: Message) -> None:
        """Without waiting: it may be waiting for us to read."""
        if self._telling >= TELLING:
            return
        try:
            self._spawn(self._telling_server(dump(message)))
        except Stopping:
            return
        self._telling += 1

    async def _telling_server(self, line: bytes) -> None:
        try:
            async with asyncio.timeout(TELLING_S):
                await self._child.send(line)
        except (ChildGone, TimeoutError):
            pass  # whoever reads it learns of its end; a call that is not asked again ends at its deadline
        finally:
            self._telling -= 1

    def _later(self, out: Out) -> None:
        for pause, id in out.later:
            asyncio.get_running_loop().call_later(pause, self._again, id)

    def _again(self, id: bytes) -> None:
        if self._interpreter is not None and self._inbox.ended is None:
            out = self._interpreter.again(id)
            self._tell_client(out)
            for each in out.server:
                self._tell_server(each)


def _may_be_modern(refusal: Message) -> bool:
    """Whether ``initialize`` was answered as something that the server does not know."""
    code = member(refusal.error or b"{}", "code")
    return code in [b"%d" % each for each in _UNKNOWN]


def _mint() -> str:
    return os.urandom(16).hex()


def _answer(line: bytes) -> Message | None:
    try:
        message = parse_child(line)
    except EnvelopeError:
        return None
    return message if message.kind in (Kind.RESPONSE, Kind.ERROR) else None
