"""The way to a relay, over real TLS, and what stands in it."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from penstock_agent import state
from penstock_agent.doctor.findings import Finding, Grade
from penstock_agent.doctor.way import Way, skew, walk
from penstock_agent.enrolment.enrol import enrol
from penstock_agent.state import Joined
from tests.harness.certs import Authority
from tests.harness.proxy import connect_proxy
from tests.harness.tunnel_listener import TunnelListener, tunnel_listener


async def joined(place: TunnelListener, folder: Path) -> Joined:
    return state.store(folder, await enrol(await place.invitation(), None), state.prepare(folder))


async def walked(
    agent: Joined, proxy: str | None = None, *, link: bool = True, clock: Callable[[], float] = time.time
) -> list[Finding]:
    return [each async for each in walk(Way(agent, proxy), link=link, step_s=5, clock=clock)]


def grades(found: list[Finding]) -> dict[str, Grade]:
    return {each.check: each.grade for each in found}


async def test_a_good_way_is_ok_at_every_step_and_opens_no_link(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        found = await walked(await joined(place, tmp_path / "state"))
    assert grades(found) == dict.fromkeys(("proxy", "dns", "connection", "tls", "clock", "link"), Grade.OK)


async def test_beside_a_running_agent_the_relay_is_not_asked_for_a_link(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        found = await walked(await joined(place, tmp_path / "state"), link=False)
    assert "link" not in grades(found)


async def test_a_clock_that_differs_is_named(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        agent = await joined(place, tmp_path / "state")
        found = await walked(agent, clock=lambda: time.time() - 3600)
    clock = next(each for each in found if each.check == "clock")
    assert clock.grade is Grade.WARNING
    assert "behind" in clock.text
    assert "timedatectl" in clock.text


def test_a_minute_of_difference_is_none() -> None:
    assert skew(-60).grade is Grade.OK
    assert "90 s ahead of" in skew(-90).text


async def test_nobody_there_ends_it_at_the_connection(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        agent = await joined(place, tmp_path / "state")
    found = await walked(agent)
    assert found[-1].check == "connection"
    assert found[-1].grade is Grade.FAILED


async def test_a_name_that_is_not_known_ends_it_there(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        agent = replace(await joined(place, tmp_path / "state"), relay_url="wss://no-such-name.invalid:1")
    found = await walked(agent)
    assert found[-1].check == "dns"
    assert "cannot be resolved" in found[-1].text


@pytest.mark.parametrize("status", [403, 407])
async def test_a_proxy_that_refuses_is_named_without_its_password(tmp_path: Path, status: int) -> None:
    async with tunnel_listener(tmp_path) as place, connect_proxy(refuse_with=status) as proxy:
        found = await walked(await joined(place, tmp_path / "state"), proxy.url_with("user:geheim"))
    assert found[-1].check == "connection"
    assert str(status) in found[-1].text
    assert "geheim" not in repr(found)


async def test_tls_inspection_is_named_with_who_issued_its_certificate(tmp_path: Path) -> None:
    inspector = Authority(tmp_path / "inspector", "Inspector of the company")
    files = inspector.relay()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.chain, files.key)
    async with tunnel_listener(tmp_path) as place:
        agent = await joined(place, tmp_path / "state")

    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(nothing, "localhost", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        found = await walked(replace(agent, relay_url=f"wss://localhost:{port}"))
    assert found[-1].check == "tls"
    assert found[-1].grade is Grade.FAILED
    assert "TLS inspection" in found[-1].text
    assert "Inspector of the company" in found[-1].text


async def test_what_the_relay_says_against_the_agent_is_told(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        agent = await joined(place, tmp_path / "state")
        await place.store.agents.revoke(agent.id, time.time())
        found = await walked(agent)
    assert found[-1].check == "link"
    assert found[-1].grade is Grade.FAILED
    assert "revoked" in found[-1].text
