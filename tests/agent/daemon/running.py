"""An agent that runs in this process, with an endpoint that answers when the test says so."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from penstock_agent import control, state
from penstock_agent.catalogue.offer import Catalogue
from penstock_agent.children.child import ChildSpec
from penstock_agent.config import Options, Settings, load
from penstock_agent.daemon import daemon
from penstock_agent.enrolment.enrol import enrol
from penstock_agent.exchange import Exchange, ExchangeGone
from penstock_agent.gate.gate import Gate
from penstock_agent.gate.pause import Paused
from penstock_agent.gate.policy.books import Books
from penstock_relay.switchboard import Answer
from tests.harness.link_pair import until
from tests.harness.tunnel_listener import TunnelListener, tunnel_listener
from tests.relay.switchboard.board import call

FILES = '[servers.files]\ncommand = ["/bin/cat"]\nexpose = ["*"]\n'
SHARED = 'command = ["/bin/cat"]\nprocess_per = "server"\n'
RULE = '[[servers.files.rules]]\nname = "r"\nallow = ["read"]\n'


class FakeEndpoint:
    """Answers when the test says so."""

    made: FakeEndpoint

    def __init__(self, *args: object, **kwargs: object) -> None:
        FakeEndpoint.made = self
        self.serving: asyncio.Queue[Exchange] = asyncio.Queue()
        self.answer = asyncio.Event()
        self.reloads: list[set[str]] = []
        self.shared_by_all: object = kwargs["shared_by_all"]
        paused = kwargs["paused"]
        assert isinstance(paused, Paused)
        self.paused = paused
        books = kwargs["books"]
        assert isinstance(books, Books)
        self.books = books
        self.drained = False
        self.none_left = asyncio.Event()
        self.none_left.set()

    async def quiet(self) -> None:
        await self.none_left.wait()

    def pause(self, paused: Paused) -> int:
        self.paused = paused
        return 2

    async def give_way(self) -> bool:
        return False

    async def run(self) -> None:
        await asyncio.Event().wait()

    def reload(
        self, specs: Mapping[str, ChildSpec], gate: Gate, callers: object, shared_by_all: object
    ) -> None:
        self.reloads.append(set(specs))
        self.specs = dict(specs)
        self.gate = gate
        self.shared_by_all = shared_by_all

    def lists_changed(self, servers: frozenset[str]) -> None:
        pass

    async def read(self, server: str) -> Catalogue:
        return Catalogue(server)

    async def drain(self) -> None:
        self.drained = True

    async def serve(self, exchange: Exchange) -> None:
        self.serving.put_nowait(exchange)
        await self.answer.wait()
        try:
            await exchange.head(200)
            await exchange.write(b"x" * 400_000)
            await exchange.end()
        except ExchangeGone:
            return


@dataclass
class Agent:
    """An agent that runs, and its relay."""

    place: TunnelListener
    settings: Settings
    task: asyncio.Task[int]

    @property
    def endpoint(self) -> FakeEndpoint:
        return FakeEndpoint.made

    @property
    def control(self) -> Path:
        return control.socket_path(self.settings)

    def configure(self, text: str) -> None:
        self.settings.config_file.write_text(text)

    async def linked(self) -> None:
        await until(lambda: self.place.switchboard.links.greeted > 0, "the link")

    def ask(self, tasks: asyncio.TaskGroup) -> asyncio.Task[Answer | Exception]:
        async def ask() -> Answer | Exception:
            try:
                return await self.place.switchboard.exchange(call())
            except Exception as error:
                return error

        return tasks.create_task(ask())


async def joined(place: TunnelListener, folder: Path, text: str = FILES) -> Settings:
    """The settings of an agent that has enrolled."""
    folder.mkdir(mode=0o700)
    config = folder / "agent.toml"
    config.write_text(text)
    config.chmod(0o600)
    settings = load(Options(config, folder / "state"), {})
    owner = state.prepare(settings.state_dir)
    state.store(settings.state_dir, await enrol(await place.invitation(), None), owner)
    return settings


@asynccontextmanager
async def agent_of(folder: Path, text: str = FILES) -> AsyncIterator[Agent]:
    async with tunnel_listener(folder) as place, asyncio.TaskGroup() as tasks:
        settings = await joined(place, folder / "agent", text)
        agent = Agent(place, settings, tasks.create_task(daemon.run(settings)))
        try:
            await agent.linked()
            yield agent
        finally:
            agent.task.cancel()


def kill(number: signal.Signals = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


def full_disk(*_: object) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")
