"""A fleet of agents that are called without a pause: real TLS, store and authority, all in this process."""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from penstock import tls
from penstock.joinstring import JoinString
from penstock.tunnel.frames import DoneReason
from penstock_agent import state
from penstock_agent.dialer.dialer import Target
from penstock_agent.dialer.served import Served
from penstock_agent.enrolment.enrol import enrol
from penstock_agent.renewal.renew import renew
from penstock_relay.switchboard.switchboard import Switchboard
from tests.agent.dialer.dialling import Dialling
from tests.relay.switchboard.board import body, call

AGENTS = int(os.environ.get("PENSTOCK_TEST_AGENTS", "20"))
ROUNDS = int(os.environ.get("PENSTOCK_TEST_ROUNDS", "1"))
AT_ONCE = 10
"""Renewals at the same time; the others wait, as the jitter of their schedule has them wait."""
ANSWER = b"x" * 20_000


class Place(Protocol):
    """A tunnel listener with what is behind it."""

    @property
    def switchboard(self) -> Switchboard: ...

    async def invitation(self) -> JoinString: ...


@dataclass
class Member:
    """One agent of the site, which serves a server of its own name."""

    folder: Path
    server: str
    at_work: Dialling
    done: int = 0
    failed: int = 0

    async def serve(self) -> None:
        while True:
            served: Served = await self.at_work.started.get()
            await served.head(200)
            await served.write(ANSWER)
            await served.end()

    async def call(self, place: Place, over: asyncio.Event) -> None:
        """Calls it without a pause until `over`."""
        while not over.is_set():
            try:
                answer = await place.switchboard.exchange(call(server=self.server))
                good = await body(answer) == ANSWER
                answer.close(DoneReason.OK)
            except Exception:
                good = False
            self.done += good
            self.failed += not good

    async def renew(self, turn: asyncio.Semaphore) -> None:
        async with turn:
            joined = (await renew(self.folder, None)).joined
        self.at_work.dialer.use(context_of(joined))


def context_of(joined: state.Joined) -> ssl.SSLContext:
    return tls.client_context(joined.ca_file, joined.certificate_file, joined.key_file)


async def member(place: Place, folder: Path, server: str) -> Member:
    joined = state.store(folder, await enrol(await place.invitation(), None), state.prepare(folder))
    at_work = Dialling(Target(joined.relay_url, joined.id, b"i" * 16, context_of(joined), None))
    at_work.servers = frozenset({server})
    at_work.tunnel.offer(at_work.servers)
    return Member(folder, server, at_work)
