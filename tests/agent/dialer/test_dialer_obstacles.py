"""What can stand between an agent and its relay, and in which words the dialer says so."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cryptography import x509
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from penstock import tls
from penstock_agent.dialer import redial as redial_module
from penstock_agent.dialer.redial import Redial
from penstock_relay.door import door as door_module
from penstock_relay.door.door import Door
from tests.agent.dialer.dialling import dialling, target_of
from tests.harness.certs import Authority
from tests.harness.link_pair import AGENT, until
from tests.harness.proxy import connect_proxy
from tests.harness.tunnel_listener import tunnel_listener

BOTH_LOOPS = True


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long between attempts."""
    for name in ("FIRST", "CAP", "CAP_UNFINISHED"):
        monkeypatch.setattr(redial_module, name, 0.01)


async def test_a_certificate_that_the_relay_does_not_take_is_shown_again_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redial_module, "REFUSED", (0.02, 0.02))
    waits: list[bool] = []
    wait = Redial.wait

    def spy(self: Redial, chance: float, *, unfinished: bool, refused: bool, waiting: bool) -> float:
        waits.append(refused and not waiting)
        return wait(self, chance, unfinished=unfinished, refused=refused)

    monkeypatch.setattr(Redial, "wait", spy)
    async with tunnel_listener(tmp_path) as place:
        files = place.certificate(names=[x509.DNSName("agent.example")])
        async with dialling(target_of(place, context=place.context(files))) as agent:
            assert "does not accept this agent's certificate (403)" in await agent.problem()
            await until(lambda: len(waits) > 2, "more attempts")
            assert all(waits)
            assert len(agent.problems) == 1, "the same problem is told once"


async def test_a_foreign_certificate_is_named_as_tls_inspection(tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    async with tunnel_listener(tmp_path) as place:
        context = tls.client_context(stranger.ca, *place.certificate())
        async with dialling(target_of(place, context=context)) as agent:
            assert "TLS inspection" in await agent.problem()
            assert place.switchboard.links.greeted == 0


async def test_a_certificate_for_another_name_is_named_as_such(tmp_path: Path) -> None:
    async with (
        tunnel_listener(tmp_path) as place,
        connect_proxy(routes={"relay.test:8443": ("127.0.0.1", place.port)}) as proxy,
        dialling(target_of(place, url="wss://relay.test:8443", proxy=proxy.url)) as agent,
    ):
        assert "not for the name relay.test" in await agent.problem()


async def test_a_name_that_cannot_be_one_does_not_end_the_dialer(tmp_path: Path) -> None:
    async with (
        tunnel_listener(tmp_path) as place,
        dialling(target_of(place, url=f"wss://{'x' * 70}.test:1")) as agent,
    ):
        assert await agent.problem()


async def test_a_proxy_with_credentials_carries_a_link(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place, connect_proxy(credentials="user:p@ss") as proxy:
        target = target_of(place, proxy=proxy.url_with("user:p%40ss"))
        async with dialling(target) as agent:
            await agent.linked()
            assert proxy.targets == [f"localhost:{place.port}"]
            assert AGENT.uri.encode() not in proxy.upstream


async def test_a_proxy_that_wants_credentials_is_named_without_any(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place, connect_proxy(credentials="user:right") as proxy:
        async with dialling(target_of(place, proxy=proxy.url_with("user:s3cret"))) as agent:
            problem = await agent.problem()
        assert "(407)" in problem
        assert "s3cret" not in problem
        async with dialling(target_of(place, proxy=proxy.url)) as agent:
            assert "(407)" in await agent.problem()


async def test_a_proxy_that_refuses_the_relay_is_named(tmp_path: Path) -> None:
    async with (
        tunnel_listener(tmp_path) as place,
        connect_proxy(refuse_with=403) as proxy,
        dialling(target_of(place, proxy=proxy.url)) as agent,
    ):
        assert "does not allow localhost" in await agent.problem()


async def test_nothing_about_this_machine_goes_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[Request] = []
    judge = Door._judge

    async def watch(self: Door, connection: ServerConnection, request: Request) -> Response | None:
        requests.append(request)
        return await judge(self, connection, request)

    monkeypatch.setattr(Door, "_judge", watch)
    heads: asyncio.Queue[bytes] = asyncio.Queue()

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.put_nowait(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with tunnel_listener(tmp_path) as place:
        async with dialling(target_of(place)) as agent:
            await agent.linked()
        assert {name.lower() for name, _ in requests[0].headers.raw_items()} == {
            "host", "upgrade", "connection", "sec-websocket-key", "sec-websocket-version",
            "sec-websocket-protocol",
        }  # fmt: skip
        server = await asyncio.start_server(proxy, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            async with dialling(target_of(place, proxy=f"http://127.0.0.1:{port}")) as agent:
                head = await heads.get()
        assert [line.split(b":")[0].lower() for line in head.split(b"\r\n")[1:] if line] == [b"host"]


async def test_a_redirect_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    visitors = 0

    async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal visitors
        visitors += 1
        writer.close()

    elsewhere = await asyncio.start_server(visited, "127.0.0.1", 0)
    port = elsewhere.sockets[0].getsockname()[1]

    def redirect(self: Door, connection: ServerConnection, request: Request) -> Response:
        response = connection.respond(302, "")
        response.headers["Location"] = f"wss://127.0.0.1:{port}/"
        return response

    monkeypatch.setattr(Door, "_judge", redirect)
    async with elsewhere, tunnel_listener(tmp_path) as place, dialling(target_of(place)) as agent:
        assert "HTTP 302" in await agent.problem()
        await until(lambda: agent.dialer._numbers == 0)
    assert visitors == 0


async def test_a_listener_that_agrees_to_no_subprotocol_is_no_relay_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door_module, "_subprotocol", lambda connection, offered: None)
    async with tunnel_listener(tmp_path) as place, dialling(target_of(place)) as agent:
        assert "does not speak this version" in await agent.problem()
