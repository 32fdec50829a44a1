"""Renewal over the wire: real TLS, no client certificate, and peers that keep to nothing."""

from __future__ import annotations

import json
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from sqlalchemy.exc import SQLAlchemyError
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus, NegotiationError

from penstock import enrolment, refusal
from penstock import renewal as wire
from penstock.refusal import Refusal
from penstock.renewal import Renew, Renewed, Stored
from penstock_relay import renewal
from penstock_relay.door import conversations as conversations_module
from penstock_relay.door import door as door_module
from penstock_relay.store.certificates import Certificates
from tests.harness.link_pair import AGENT, until
from tests.harness.tunnel_listener import TunnelListener, tunnel_listener
from tests.relay.test_renewal import csr_of, new_key, pem


async def talk(place: TunnelListener) -> tuple[ClientConnection, bytes, bytes]:
    """A conversation that has begun: its nonce, and the digest of what the relay showed."""
    websocket = await place.connect(wire.PATH, context=place.context(None), subprotocol=wire.SUBPROTOCOL)
    nonce = wire.decode_challenge(await websocket.recv()).nonce_bytes
    tls = websocket.transport.get_extra_info("ssl_object")
    assert isinstance(tls, ssl.SSLObject)
    der = tls.getpeercert(binary_form=True)
    assert der is not None
    return websocket, nonce, wire.leaf_digest(der)


def asking(place: TunnelListener, nonce: bytes, leaf: bytes) -> Renew:
    chain, private = place.certificate()
    certificate = x509.load_pem_x509_certificate(chain.read_bytes())
    key = load_pem_private_key(private.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    csr = csr_of(new_key())
    return Renew(pem(certificate), pem(csr), wire.sign(key, wire.to_sign(leaf, nonce, csr, certificate)))


async def renew(place: TunnelListener) -> tuple[ClientConnection, wire.Answer]:
    websocket, nonce, leaf = await talk(place)
    await websocket.send(wire.encode(asking(place, nonce, leaf)))
    return websocket, wire.decode_answer(await websocket.recv())


async def seen(place: TunnelListener, answer: Renewed) -> bool:
    known = await place.store.certificates.lineage(renewal.serial_of(answer))
    assert known is not None
    return known.newest.seen_at is not None


async def test_a_renewal_is_noted_as_arrived_once_the_agent_says_so(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        websocket, answer = await renew(place)
        assert isinstance(answer, Renewed)
        assert (answer.site, answer.agent, answer.generation) == (AGENT.site, AGENT.agent, 2)
        assert not await seen(place, answer)
        await websocket.send(wire.encode(Stored()))
        await websocket.wait_closed()
        assert websocket.close_code == 1000
        assert await seen(place, answer)


@pytest.mark.parametrize("after", ["gone", "garbage"])
async def test_an_agent_that_says_nothing_more_may_not_have_got_it(tmp_path: Path, after: str) -> None:
    async with tunnel_listener(tmp_path) as place:
        websocket, answer = await renew(place)
        assert isinstance(answer, Renewed)
        if after == "gone":
            websocket.transport.abort()
        else:
            await websocket.send("s3cret")
            await websocket.wait_closed()
        await until(lambda: place.door._talking == 0, "the end of the conversation")
        assert not await seen(place, answer)
        # So it renews again with what it has.
        _, again = await renew(place)
        assert isinstance(again, Renewed)
        assert again.generation == 3


async def test_a_nonce_is_good_for_one_conversation(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        _, first, leaf = await talk(place)
        websocket, second, _ = await talk(place)
        assert first != second
        await websocket.send(wire.encode(asking(place, first, leaf)))
        answer = wire.decode_answer(await websocket.recv())
        assert isinstance(answer, Refusal)
        assert answer.reason == refusal.MALFORMED


async def test_a_signature_that_another_server_obtained_is_worth_nothing(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        websocket, nonce, _ = await talk(place)
        await websocket.send(wire.encode(asking(place, nonce, b"x" * 32)))
        answer = wire.decode_answer(await websocket.recv())
        assert isinstance(answer, Refusal)


async def test_a_tunnel_certificate_that_is_renewed_meanwhile_does_no_harm(tmp_path: Path) -> None:
    def changed(place: TunnelListener) -> None:
        """A new one is there; handshakes from before (here: all) have seen the old one."""
        (tmp_path / "tunnel.pem").unlink()
        place.door.shows(place.ca.tunnel_files("localhost", time.time()).chain)

    async with tunnel_listener(tmp_path) as place:
        changed(place)
        _, answer = await renew(place)
        assert isinstance(answer, Renewed)
        # Twice is too long ago.
        changed(place)
        _, answer = await renew(place)
        assert isinstance(answer, Refusal)
        assert answer.reason == refusal.MALFORMED


@pytest.mark.parametrize(
    "message", ["", "s3cret", '{"type":"renew","csr":"s3cret"}', b"\xff\x00s3cret", "[" * 60_000]
)
async def test_garbage_is_refused_in_words_that_repeat_nothing(tmp_path: Path, message: str | bytes) -> None:
    async with tunnel_listener(tmp_path) as place:
        websocket, _, _ = await talk(place)
        await websocket.send(message)
        text = await websocket.recv()
        assert isinstance(wire.decode_answer(text), Refusal)
        assert "s3cret" not in str(text)
        await websocket.wait_closed()


async def test_each_path_speaks_its_own_protocol(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        assert (await place.get(wire.PATH))[0] == 426
        for path, subprotocol in ((wire.PATH, enrolment.SUBPROTOCOL), (enrolment.PATH, wire.SUBPROTOCOL)):
            with pytest.raises((InvalidStatus, NegotiationError)):
                await place.connect(path, context=place.context(None), subprotocol=subprotocol)


async def test_who_says_nothing_is_let_go_and_too_many_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door_module, "CONVERSATIONS", 1)
    async with tunnel_listener(tmp_path) as place:
        first, _, _ = await talk(place)
        with pytest.raises(InvalidStatus, match="503"):
            await talk(place)
        await first.close()
        await until(lambda: place.door._talking == 0, "its end")
        monkeypatch.setattr(conversations_module, "TIMEOUT", 0.05)
        silent, _, _ = await talk(place)
        with pytest.raises(ConnectionClosed):
            await silent.recv()
        await until(lambda: place.door._talking == 0, "its end")
        silent, _, _ = await talk(place)


async def test_a_store_that_fails_is_no_fault_of_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise SQLAlchemyError("s3cret")

    async with tunnel_listener(tmp_path) as place:
        place.certificate()
        monkeypatch.setattr(Certificates, "renew", fail)
        websocket, nonce, leaf = await talk(place)
        await websocket.send(wire.encode(asking(place, nonce, leaf)))
        with pytest.raises(ConnectionClosed):
            await websocket.recv()
        assert websocket.close_code == 1011


async def test_nothing_of_the_proof_is_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "penstock_relay")
    async with tunnel_listener(tmp_path) as place:
        websocket, nonce, leaf = await talk(place)
        request = asking(place, nonce, leaf)
        await websocket.send(wire.encode(request))
        await websocket.recv()
    printed = capsys.readouterr().err + caplog.text
    assert "certificate_renewed" in printed
    for canary in json.loads(wire.encode(request)).values():
        assert canary == "renew" or canary[30:80] not in printed
    assert (
        x509.load_pem_x509_csr(request.csr.encode()).public_bytes(Encoding.PEM).decode()[40:80] not in printed
    )
