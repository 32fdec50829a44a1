"""The tunnel listener as its peers meet it: real TLS, real store, real authority, on both event loops."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from sqlalchemy.exc import OperationalError
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from penstock import enrolment as conversation
from penstock import log
from penstock.ledgerhead import to_frame
from penstock.names import AgentId
from penstock.tunnel.codec import Decoder
from penstock.tunnel.errors import CloseCode
from penstock.tunnel.frames import Hello, Role, Welcome
from penstock_agent.dialer import reach
from penstock_agent.enrolment.enrol import EnrolError, JoinRefused, enrol
from penstock_relay import enrolment as relay_enrolment
from penstock_relay.ca import CertificateAuthority
from penstock_relay.door import conversations as conversations_module
from penstock_relay.door import door as door_module
from penstock_relay.store import Store
from penstock_relay.store.heads import Heads
from penstock_relay.switchboard import links as links_module
from tests.harness.certs import Authority
from tests.harness.ledgers import Ledger
from tests.harness.link_pair import AGENT, hello, until
from tests.harness.tunnel_listener import TunnelListener, tunnel_listener

BOTH_LOOPS = True

LEDGER = Ledger()


async def test_anyone_gets_the_authority_and_nothing_else_is_there(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        assert await place.get("/ca") == (200, place.ca.pem)
        assert (await place.get("/"))[0] == 404
        assert (await place.get("/plant/files/mcp"))[0] == 404
        assert (await place.get("/ca?x"))[0] == 404
        assert (await place.get("/link"))[0] == 403
        assert (await place.get("/enrol"))[0] == 426


async def linked(place: TunnelListener, greeting: Hello | None = None) -> Welcome:
    """What the relay says to a good certificate and `greeting`."""
    websocket = await place.connect()
    try:
        await websocket.send((greeting or hello()).encode())
        data = await websocket.recv()
        assert isinstance(data, bytes)
        [(_, welcome)] = Decoder().feed(data)
        assert isinstance(welcome, Welcome)
        return welcome
    finally:
        websocket.transport.abort()


async def test_a_good_certificate_and_hello_are_welcome(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        welcome = await linked(place)
        assert (welcome.replica, welcome.public_url) == ("r1", "https://relay.example")


async def refusal(place: TunnelListener, context: ssl.SSLContext) -> int:
    with pytest.raises(InvalidStatus) as caught:
        await place.connect(context=context)
    return caught.value.response.status_code


async def test_a_link_without_an_agents_certificate_is_forbidden(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        assert await refusal(place, place.context(None)) == 403
        for names in (
            [x509.UniformResourceIdentifier(AGENT.uri), x509.UniformResourceIdentifier(AGENT.uri + "2")],
            [x509.UniformResourceIdentifier(AGENT.uri), x509.DNSName("agent.example")],
            [x509.UniformResourceIdentifier("spiffe://other/site/plant/agent/a1")],
            [x509.DNSName("agent.example")],
        ):
            files = place.certificate(names=names)
            assert await refusal(place, place.context(files)) == 403


async def test_a_certificate_of_another_authority_ends_in_tls(tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger").agent()
    async with tunnel_listener(tmp_path) as place:
        context = place.context((stranger.chain, stranger.key))
        for path in ("/link", "/enrol", "/ca"):
            with pytest.raises((OSError, EOFError, WebSocketException)) as caught:
                await place.connect(path, context=context)
            assert not isinstance(caught.value, InvalidStatus)
            words = reach.explain(caught.value, place.url, None)
            assert "certificate" in words or "No TLS" in words


@pytest.mark.parametrize(
    ("greeting", "code"),
    [
        (hello(AgentId("plant", "other")), CloseCode.IDENTITY),
        (hello(role=Role.REPLICA), CloseCode.IDENTITY),
        (hello(versions=(7, 8)), CloseCode.VERSION),
        (hello(servers=("Not A Name",)), CloseCode.MALFORMED),
        (hello(servers=tuple(f"s{n}" for n in range(257))), CloseCode.TOO_MANY),
    ],
    ids=["another agent", "replica", "version", "server name", "servers"],
)
async def test_a_bad_hello_is_refused_by_its_close_code(
    tmp_path: Path, greeting: Hello, code: CloseCode
) -> None:
    async with tunnel_listener(tmp_path) as place:
        websocket = await place.connect()
        await websocket.send(greeting.encode())
        await websocket.wait_closed()
        assert websocket.close_code == code
        await until(lambda: not place.switchboard.links._lines, "the end of the link")


async def test_a_peer_that_says_no_hello_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links_module, "HANDSHAKE", 0.05)
    async with tunnel_listener(tmp_path) as place:
        websocket = await place.connect()
        await websocket.wait_closed()
        assert (websocket.close_code, websocket.close_reason) == (CloseCode.WRONG_STATE, "no HELLO in time")


async def test_a_peer_that_says_nothing_to_tls_or_http_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door_module, "OPEN_TIMEOUT", 0.1)
    async with tunnel_listener(tmp_path) as place:
        for context in (None, place.context(None)):
            reader, writer = await asyncio.open_connection("localhost", place.port, ssl=context)
            assert await reader.read() == b""
            writer.transport.abort()


async def test_an_agent_has_a_bounded_number_of_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links_module, "LINKS_PER_AGENT", 2)
    async with tunnel_listener(tmp_path) as place:
        links = [await place.connect() for _ in range(3)]
        await links[2].wait_closed()
        assert links[2].close_code == CloseCode.TOO_MANY
        other = place.context(place.certificate(AgentId("plant", "a2")))
        more = await place.connect(context=other)
        for websocket in (*links, more):
            websocket.transport.abort()


async def test_a_link_of_another_subprotocol_is_refused(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        with pytest.raises(InvalidStatus):
            await place.connect(subprotocol="penstock.9")
        with pytest.raises(InvalidStatus):
            await place.connect("/enrol", subprotocol="penstock.1")


async def test_the_end_of_the_listener_is_the_end_of_its_links(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        links = [await place.connect() for _ in range(3)]
        for websocket in links:
            await websocket.send(hello().encode())
            await websocket.recv()
        await place.close()
        for websocket in links:
            await websocket.wait_closed()
            assert websocket.close_code == CloseCode.GOING_AWAY
        assert place.switchboard.links.greeted == 0


async def test_a_peer_that_does_not_read_does_not_hold_the_listener(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.link.CLOSE_TIMEOUT", 0.1)
    async with tunnel_listener(tmp_path) as place:
        websocket = await place.connect()
        await websocket.send(hello().encode())
        await until(lambda: place.switchboard.links.greeted == 1, "HELLO")
        [line] = place.switchboard.links._lines.values()
        websocket.transport.pause_reading()
        # More than fits anywhere, in two steps (TLS takes the first one whole): whoever writes now, waits.
        for _ in range(2):
            line.driver._websocket.transport.write(b"x" * 32 * 1024 * 1024)
        await until(lambda: line.driver._websocket.paused, "a full transport")
        await place.close()
        websocket.transport.abort()


# -- enrolment ------------------------------------------------------------------------------------


async def test_an_agent_enrols_once_per_join_string_and_links_with_what_it_got(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        invitation = await place.invitation()
        credentials = await enrol(invitation, None)
        assert credentials.id.site == "plant"
        (tmp_path / "a.pem").write_bytes(credentials.certificate)
        (tmp_path / "a.key").write_bytes(credentials.key)
        websocket = await place.connect(context=place.context((tmp_path / "a.pem", tmp_path / "a.key")))
        await websocket.send(hello(credentials.id).encode())
        await websocket.recv()
        websocket.transport.abort()
        with pytest.raises(JoinRefused, match="has been used already"):
            await enrol(invitation, None)


async def test_one_join_string_and_many_agents_at_once_make_one_agent(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        invitation = await place.invitation()

        async def attempt() -> bool:
            try:
                await enrol(invitation, None)
            except JoinRefused:
                return False
            return True

        async with asyncio.TaskGroup() as tasks:
            attempts = [tasks.create_task(attempt()) for _ in range(8)]
        assert sum(attempt.result() for attempt in attempts) == 1
        assert len(await place.store.agents.list("plant")) == 1


@pytest.mark.parametrize(
    "message",
    ["", "s3cret", '{"type":"enrol","secret":"s3cret","csr":"s3cret"}', b"\xff\x00s3cret", "[" * 60_000],
)
async def test_garbage_is_refused_in_words_that_repeat_nothing(tmp_path: Path, message: str | bytes) -> None:
    async with tunnel_listener(tmp_path) as place:
        websocket = await place.connect(
            "/enrol", context=place.context(None), subprotocol=conversation.SUBPROTOCOL
        )
        await websocket.send(message)
        reply = conversation.decode_reply(await websocket.recv())
        assert isinstance(reply, conversation.Refused)
        assert reply.reason == conversation.MALFORMED
        assert "s3cret" not in reply.text
        await websocket.wait_closed()


async def test_a_peer_that_never_asks_is_let_go_and_takes_nobodys_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations_module, "AT_WORK", 1)
    async with tunnel_listener(tmp_path) as place:
        anonymous = place.context(None)
        silent = [
            await place.connect("/enrol", context=anonymous, subprotocol=conversation.SUBPROTOCOL)
            for _ in range(3)
        ]
        await enrol(await place.invitation(), None)
        monkeypatch.setattr(conversations_module, "TIMEOUT", 0.05)
        late = await place.connect("/enrol", context=anonymous, subprotocol=conversation.SUBPROTOCOL)
        with pytest.raises(ConnectionClosed):
            await late.recv()
        for websocket in silent:
            websocket.transport.abort()
        await until(lambda: place.door._talking == 0, "the end of the silent ones")


async def test_too_many_conversations_at_once_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door_module, "CONVERSATIONS", 1)
    async with tunnel_listener(tmp_path) as place:
        silent = await place.connect(
            "/enrol", context=place.context(None), subprotocol=conversation.SUBPROTOCOL
        )
        await until(lambda: place.door._talking == 1, "the first")
        with pytest.raises(EnrolError, match="503"):
            await enrol(await place.invitation(), None)
        silent.transport.abort()
        await until(lambda: place.door._talking == 0, "its end")
        await enrol(await place.invitation(), None)


async def test_certificates_are_made_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations_module, "AT_WORK", 1)
    at_once = most = 0
    real = relay_enrolment.enrol

    async def counted(
        request: conversation.Enrol, store: Store, ca: CertificateAuthority, now: float
    ) -> conversation.Reply:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            return await real(request, store, ca, now)
        finally:
            at_once -= 1

    monkeypatch.setattr(relay_enrolment, "enrol", counted)
    async with tunnel_listener(tmp_path) as place, asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(enrol(await place.invitation(), None))
    assert most == 1


async def test_a_store_that_fails_is_no_fault_of_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import SQLAlchemyError

    async def fail(*_: object) -> None:
        raise SQLAlchemyError("s3cret")

    async with tunnel_listener(tmp_path) as place:
        invitation = await place.invitation()
        monkeypatch.setattr(relay_enrolment, "enrol", fail)
        with pytest.raises(EnrolError, match="closed the connection"):
            await enrol(invitation, None)


# -- logs -----------------------------------------------------------------------------------------


async def test_nothing_that_a_peer_says_is_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door_module, "OPEN_TIMEOUT", 0.2)
    log.setup("penstock-relay", level="debug")
    async with tunnel_listener(tmp_path) as place:
        for data in (b"s3cret", b"GET /s3cret HTTP/1.1\r\ns3cret: s3cret", b"\x16\x03s3cret"):
            for context in (None, place.context(None)):
                reader, writer = await asyncio.open_connection("localhost", place.port, ssl=context)
                writer.write(data + b"\r\n\r\n")
                with suppress(OSError):
                    await reader.read()
                writer.transport.abort()
        for message in ("s3cret", b"s3cret" * 9, hello(AgentId("plant", "s3cret")).encode()):
            websocket = await place.connect()
            await websocket.send(message)
            await websocket.wait_closed()
        websocket = await place.connect()
        await websocket.close(4321, "s3cret")
        await until(lambda: not place.switchboard.links._lines, "the end of the links")
    printed = capsys.readouterr().err
    assert "link_ended" in printed
    assert "s3cret" not in printed
    assert "Traceback" not in printed


async def test_refused_enrolments_are_counted_in_the_audit_log(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        invitation = await place.invitation()
        await enrol(invitation, None)
        for _ in range(3):
            with pytest.raises(JoinRefused):
                await enrol(invitation, None)
        await place.store.audit.flush()
        (last,) = [entry.values() for entry in await place.store.audit.last(1)]
        assert (last["kind"], last["actor"]) == ("enrolment_refused", {"kind": "stranger"})
        assert (last["about"]["reason"], last["about"]["count"]) == ("used", 3)


async def test_what_is_stored_of_the_ledger_stands_in_the_message_of_welcome(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        context = place.context(place.certificate())
        await place.store.heads.keep([(AGENT, LEDGER.head(7))])
        for versions, frames in (
            ((2, 1), ["WELCOME", "LEDGER"]), ((3, 2, 1), ["WELCOME", "LEDGER"]), ((1,), ["WELCOME"]),
        ):  # fmt: skip
            websocket = await place.connect(context=context)
            await websocket.send(hello(versions=versions).encode())
            data = await websocket.recv()
            assert isinstance(data, bytes)
            said = [frame for _, frame in Decoder().feed(data)]
            assert [frame.type.name for frame in said] == frames
            assert isinstance(said[0], Welcome)
            assert said[0].version == min(max(versions), 2)
            assert said[1:] == [to_frame(LEDGER.head(7))][: len(frames) - 1]
            websocket.transport.abort()


async def test_a_head_that_an_agent_says_is_stored_and_answered(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        websocket = await place.connect()
        await websocket.send(hello().encode())
        await websocket.recv()
        await websocket.send(to_frame(LEDGER.head(7)).encode())
        assert await websocket.recv() == to_frame(LEDGER.head(7)).encode()
        assert await place.store.heads.current(AGENT) == LEDGER.head(7)


async def test_no_link_while_it_cannot_be_read_what_is_stored_of_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: object) -> None:
        raise OperationalError("", {}, Exception("canary"))

    monkeypatch.setattr(Heads, "current", failing)
    async with tunnel_listener(tmp_path) as place:
        websocket = await place.connect()
        await websocket.wait_closed()
        assert (websocket.close_code, websocket.close_reason) == (
            1011,
            "the relay's store cannot be used now",
        )
