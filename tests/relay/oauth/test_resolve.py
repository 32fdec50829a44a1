from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from penstock_relay.oauth.resolve import KNOWN_THREADS, MAX_OPEN, PER_DOMAIN, THREADS, Resolver

SOON_S = 5.0
"""For what needs no time, but threads."""


@dataclass
class Servers:
    """Name servers: those of `silent` domains answer when `opened` is set, others at once."""

    silent: tuple[str, ...] = ()
    opened: threading.Event = field(default_factory=threading.Event)
    asked: Counter[str] = field(default_factory=Counter)

    def getaddrinfo(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked[host] += 1
        if host.endswith(self.silent):
            self.opened.wait(60)
        if host.startswith("none."):
            raise socket.gaierror(8, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]


@asynccontextmanager
async def resolving(
    monkeypatch: pytest.MonkeyPatch, *silent: str
) -> AsyncIterator[tuple[Resolver, Servers, asyncio.TaskGroup]]:
    servers = Servers(silent)
    monkeypatch.setattr(socket, "getaddrinfo", servers.getaddrinfo)
    resolver = Resolver(lambda host: host.endswith("known.example"))
    try:
        async with asyncio.TaskGroup() as group:
            try:
                yield resolver, servers, group
            finally:
                servers.opened.set()
    finally:
        resolver.close()


async def find(resolver: Resolver, host: str) -> list[str] | str:
    try:
        async with asyncio.timeout(SOON_S):
            return await resolver.find(host, 443)
    except TimeoutError:
        return "late"
    except OSError:
        return "none"


async def begun(servers: Servers, count: int) -> None:
    """Until so many look-ups hold a thread."""
    async with asyncio.timeout(SOON_S):
        while servers.asked.total() < count:
            await asyncio.sleep(0.001)


async def test_names_are_found_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async with resolving(monkeypatch) as (resolver, _, _):
        assert await find(resolver, "a.example") == ["192.0.2.1"]
        assert await find(resolver, "known.example") == ["192.0.2.1"]
        assert await find(resolver, "none.example") == "none"
        assert resolver._open == {}


async def test_many_who_ask_for_one_name_share_one_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async with resolving(monkeypatch, "evil.example") as (resolver, servers, group):
        first = group.create_task(resolver.find("a.evil.example", 443))
        await begun(servers, 1)
        others = [group.create_task(resolver.find("a.evil.example", 443)) for _ in range(50)]
        await asyncio.sleep(0)
        first.cancel()  # one who gives up takes nobody along
        servers.opened.set()
        assert [await other for other in others] == [["192.0.2.1"]] * 50
        assert servers.asked == {"a.evil.example": 1}


async def test_a_domain_whose_servers_never_answer_holds_few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    async with resolving(monkeypatch, "evil.example") as (resolver, servers, group):
        names = [f"h{number}.evil.example" for number in range(THREADS * 2)]
        stuck = [group.create_task(find(resolver, name)) for name in names]
        await begun(servers, PER_DOMAIN)
        for host in ("good.example.net", "other.org", "known.example"):
            assert await find(resolver, host) == ["192.0.2.1"]
        assert sum(count for name, count in servers.asked.items() if name in names) == PER_DOMAIN
        servers.opened.set()  # and those who waited are served
        assert [await task for task in stuck] == [["192.0.2.1"]] * len(names)


async def test_who_gave_up_leaves_the_thread_held_and_its_domain_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with resolving(monkeypatch, "evil.example") as (resolver, servers, group):
        tasks = [group.create_task(resolver.find(f"h{n}.evil.example", 443)) for n in range(PER_DOMAIN)]
        await begun(servers, PER_DOMAIN)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        late = group.create_task(find(resolver, "late.evil.example"))
        for _ in range(50):
            await asyncio.sleep(0)
        assert servers.asked["late.evil.example"] == 0
        servers.opened.set()
        assert await late == ["192.0.2.1"]


async def test_all_threads_of_strangers_taken_stop_no_host_that_is_in_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with resolving(monkeypatch, "silent") as (resolver, servers, group):
        names = [f"x.d{number}.silent" for number in range(MAX_OPEN)]
        stuck = [group.create_task(find(resolver, name)) for name in names]
        await begun(servers, THREADS)
        assert servers.asked.total() == THREADS
        assert await find(resolver, "one.more.silent") == "none"
        assert await find(resolver, "known.example") == ["192.0.2.1"]
        servers.opened.set()
        assert [await task for task in stuck] == [["192.0.2.1"]] * MAX_OPEN


def test_there_are_fewer_threads_for_few_hosts() -> None:
    assert 0 < PER_DOMAIN < THREADS
    assert 0 < KNOWN_THREADS < THREADS
