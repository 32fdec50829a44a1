"""Real TLS connections over loopback."""

import asyncio
import contextlib
import hashlib
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from penstock import tls
from penstock.names import AgentId, BadName
from tests.harness.certs import Authority, Files

URI = "spiffe://penstock.internal/site/plant/agent/a1"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class Server:
    """Answers every connection with what peer_agent says about it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seen: list[AgentId | str | None] = []

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            agent = tls.peer_agent(writer.get_extra_info("ssl_object"))
        except BadName as error:
            self.seen.append(str(error))
            writer.write(b"stranger\n")
        else:
            self.seen.append(agent)
            writer.write(b"nobody\n" if agent is None else agent.uri.encode() + b"\n")
        writer.close()


@asynccontextmanager
async def listening(context: ssl.SSLContext) -> AsyncIterator[Server]:
    server = Server(0)
    listener = await asyncio.start_server(server.meet, "127.0.0.1", 0, ssl=context)
    server.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield server


async def greeting(port: int, context: ssl.SSLContext, host: str = "localhost") -> bytes:
    """The server's line; raises what the client sees when it is refused."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=host)
    try:
        return (await asyncio.wait_for(reader.readline(), 5)).rstrip()
    finally:
        writer.close()


def server_context(authority: Authority, relay: Files | None = None) -> ssl.SSLContext:
    relay = relay or authority.relay()
    return tls.server_context(relay.chain, relay.key, authority.ca)


def client_context(authority: Authority, agent: Files | None) -> ssl.SSLContext:
    if agent is None:
        return tls.client_context(authority.ca, None, None)
    return tls.client_context(authority.ca, agent.chain, agent.key)


async def test_both_certificates_are_checked_and_the_agent_is_named_by_its_own(authority: Authority) -> None:
    async with listening(server_context(authority)) as server:
        assert await greeting(server.port, client_context(authority, authority.agent())) == URI.encode()
        assert server.seen == [AgentId("plant", "a1")]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_an_agent_without_certificate_is_nobody(authority: Authority, host: str) -> None:
    async with listening(server_context(authority)) as server:
        assert await greeting(server.port, client_context(authority, None), host) == b"nobody"


async def test_only_tls_1_3_is_spoken(authority: Authority) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(authority.ca)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with listening(server_context(authority)) as server:
        with pytest.raises((ssl.SSLError, ConnectionError)):  # an alert, if it comes before the end
            await greeting(server.port, old)
    relay = authority.relay()
    old_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old_server.load_cert_chain(relay.chain, relay.key)
    old_server.maximum_version = ssl.TLSVersion.TLSv1_2
    async with listening(old_server) as server:
        for context in (client_context(authority, None), tls.probe_context()):
            with pytest.raises((ssl.SSLError, ConnectionError)):  # an alert, if it comes before the end
                await greeting(server.port, context)
        assert server.seen == []


async def test_a_relay_of_another_ca_is_refused_before_anything_is_sent(
    authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other")
    async with listening(server_context(other)) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            await greeting(server.port, client_context(authority, authority.agent()))
        assert server.seen == []


async def test_a_relay_under_another_name_is_refused(authority: Authority) -> None:
    for relay, host in (
        (authority.relay(), "relay.example"),
        (authority.relay([x509.DNSName("relay.example")]), "localhost"),
        (authority.issue("cn", [], ExtendedKeyUsageOID.SERVER_AUTH, common_name="localhost"), "localhost"),
        (authority.relay([x509.IPAddress(ipaddress.ip_address("127.0.0.2"))]), "127.0.0.1"),
    ):
        async with listening(server_context(authority, relay)) as server:
            with pytest.raises(ssl.SSLCertVerificationError):
                await greeting(server.port, client_context(authority, None), host)


async def test_an_agents_certificate_does_not_make_a_relay(authority: Authority) -> None:
    posing = authority.issue("posing", [x509.DNSName("localhost")], ExtendedKeyUsageOID.CLIENT_AUTH)
    async with listening(server_context(authority, posing)) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            await greeting(server.port, client_context(authority, None))


async def test_agents_with_a_bad_certificate_do_not_get_through(authority: Authority, tmp_path: Path) -> None:
    wrong_use = authority.issue(
        "wrong-use", [x509.UniformResourceIdentifier(URI)], ExtendedKeyUsageOID.SERVER_AUTH
    )
    for agent in (Authority(tmp_path, "other").agent(), authority.expired_agent(), wrong_use):
        async with listening(server_context(authority)) as server:
            # TLS 1.3 is done for the client before the server has looked: it sees an alert, or an end.
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                assert await greeting(server.port, client_context(authority, agent)) == b""
            assert server.seen == []


@pytest.mark.parametrize(
    "names",
    [
        [x509.UniformResourceIdentifier(URI), x509.UniformResourceIdentifier(URI.replace("a1", "a2"))],
        [x509.UniformResourceIdentifier(URI), x509.UniformResourceIdentifier(URI)],
        [x509.UniformResourceIdentifier(URI), x509.DNSName("localhost")],
        [x509.DNSName("localhost")],
        [x509.DNSName(URI)],
        [x509.UniformResourceIdentifier("spiffe://elsewhere.internal/site/plant/agent/a1")],
        [x509.UniformResourceIdentifier(URI + "/")],
        [x509.UniformResourceIdentifier(URI.replace("plant", "PLANT"))],
    ],
    ids=[
        "two agents",
        "twice",
        "uri and dns",
        "dns",
        "uri as dns",
        "other domain",
        "trailing slash",
        "capitals",
    ],
)
async def test_a_certificate_that_names_anything_but_one_agent_is_a_stranger(
    authority: Authority, names: list[x509.GeneralName]
) -> None:
    async with listening(server_context(authority)) as server:
        assert (
            await greeting(server.port, client_context(authority, authority.agent_named(names)))
            == b"stranger"
        )


async def test_a_common_name_is_no_name(authority: Authority) -> None:
    async with listening(server_context(authority)) as server:
        agent = authority.nameless_agent(common_name=URI)
        assert await greeting(server.port, client_context(authority, agent)) == b"stranger"
        assert "enrol the agent again" in str(server.seen[0])


async def test_the_probe_reads_from_a_relay_that_nobody_vouches_for(authority: Authority) -> None:
    async with listening(server_context(authority)) as server:
        assert await greeting(server.port, tls.probe_context(), "relay.example") == b"nobody"


async def test_every_connection_shows_its_certificate_again(authority: Authority) -> None:
    context = client_context(authority, authority.agent())
    async with listening(server_context(authority)) as server:
        for _ in range(2):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", server.port, ssl=context, server_hostname="localhost"
            )
            await asyncio.wait_for(reader.read(), 5)
            session = writer.get_extra_info("ssl_object").session
            assert session is None or not session.has_ticket
            writer.close()
        assert server.seen == [AgentId("plant", "a1")] * 2


def test_no_context_trusts_the_systems_authorities(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
    for context in (client_context(authority, None), server_context(authority)):
        assert context.get_ca_certs(binary_form=True) == [authority.certificate.public_bytes(Encoding.DER)]
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
        assert context.verify_flags & ssl.VERIFY_X509_STRICT
    assert tls.probe_context().get_ca_certs() == []
    assert client_context(authority, None).check_hostname
    assert client_context(authority, None).verify_mode is ssl.CERT_REQUIRED


def test_the_pin_is_the_hash_of_the_public_key_info(authority: Authority) -> None:
    key = authority.certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    p256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")  # RFC 5480
    assert tls.spki_pin(authority.certificate) == hashlib.sha256(p256 + point).digest()


def test_files_that_cannot_be_used_are_named_with_the_cause(authority: Authority, tmp_path: Path) -> None:
    relay, other = authority.relay(), authority.relay()
    missing, junk = tmp_path / "missing.pem", tmp_path / "junk.pem"
    junk.write_text("canary")
    encrypted = tmp_path / "encrypted.pem"
    key = load_pem_private_key(relay.key.read_bytes(), None)
    encrypted.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    )
    for chain, key_file, ca, words in (
        (relay.chain, relay.key, missing, "No such file"),
        (relay.chain, relay.key, junk, "junk.pem cannot be used"),
        (missing, relay.key, authority.ca, "No such file"),
        (junk, relay.key, authority.ca, "junk.pem with the key"),
        (relay.chain, other.key, authority.ca, "key values mismatch"),
        (relay.chain, encrypted, authority.ca, "the key is encrypted"),
    ):
        with pytest.raises(tls.BadTlsFile, match=words) as caught:
            tls.server_context(chain, key_file, ca)
        assert "canary" not in str(caught.value)
        with pytest.raises(tls.BadTlsFile, match=words):
            tls.client_context(ca, chain, key_file)


async def test_read_buffers_are_small_after_asking_for_it(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol = asyncio.sslproto.SSLProtocol
    monkeypatch.setattr(protocol, "max_size", protocol.max_size)
    tls.small_read_buffers()
    async with listening(server_context(authority)) as server:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.port, ssl=client_context(authority, None), server_hostname="localhost"
        )
        used = writer.transport._ssl_protocol  # type: ignore[attr-defined]  # only the private name tells
        assert len(used._ssl_buffer) == tls.READ_BUFFER_BYTES
        assert await asyncio.wait_for(reader.readline(), 5) == b"nobody\n"
        writer.close()


def test_asking_for_small_buffers_does_no_harm_where_the_name_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(asyncio.sslproto.SSLProtocol, "max_size")
    tls.small_read_buffers()
    assert not hasattr(asyncio.sslproto.SSLProtocol, "max_size")
    monkeypatch.delattr(asyncio.sslproto, "SSLProtocol")
    tls.small_read_buffers()


async def test_every_certificate_of_a_bundle_is_trusted(authority: Authority, tmp_path: Path) -> None:
    other, third = Authority(tmp_path, "other"), Authority(tmp_path, "third")
    both = tmp_path / "both.pem"
    both.write_bytes(other.ca.read_bytes() + authority.ca.read_bytes())
    relay = authority.relay()
    async with listening(tls.server_context(relay.chain, relay.key, both)) as server:
        for agent in (authority.agent(), other.agent()):
            assert (
                await greeting(server.port, tls.client_context(both, agent.chain, agent.key)) == URI.encode()
            )
        stranger = third.agent()
        # TLS 1.3: the client may be through before the server says no, and then only sees the end.
        seen = b""
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            seen = await greeting(server.port, tls.client_context(both, stranger.chain, stranger.key))
        assert seen == b""
        assert len(server.seen) == 2
    async with listening(server_context(other)) as server:
        assert await greeting(server.port, tls.client_context(both, None, None)) == b"nobody"


async def test_a_live_context_is_exchanged_for_connections_to_come(
    authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other")
    live = tls.LiveContext(server_context(authority))
    async with listening(live) as server:
        mine, others = authority.agent(), other.agent()
        assert await greeting(server.port, client_context(authority, mine)) == URI.encode()
        with pytest.raises(ssl.SSLCertVerificationError):
            await greeting(server.port, client_context(other, others))
        live.use(server_context(other))
        assert await greeting(server.port, client_context(other, others)) == URI.encode()
        # Nothing of the first is left: neither its certificate nor its trust.
        with pytest.raises(ssl.SSLCertVerificationError):
            await greeting(server.port, client_context(authority, mine))
        assert server.seen == [AgentId("plant", "a1")] * 2


async def test_a_live_context_is_exchanged_below_a_connection_that_stands(
    authority: Authority, tmp_path: Path
) -> None:
    live = tls.LiveContext(server_context(authority))

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    listener = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=live)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client_context(authority, authority.agent()), server_hostname="localhost"
        )
        writer.write(b"before\n")
        assert await reader.readline() == b"before\n"
        live.use(server_context(Authority(tmp_path, "other")))
        writer.write(b"after\n")
        assert await reader.readline() == b"after\n"
        writer.close()


def test_the_key_of_a_listener_may_have_a_password(authority: Authority) -> None:
    relay = authority.relay()
    key = load_pem_private_key(relay.key.read_bytes(), None)
    relay.key.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    )
    tls.server_context(relay.chain, relay.key, authority.ca, b"password")
    for wrong in (None, b"other"):
        with pytest.raises(tls.BadTlsFile):
            tls.server_context(relay.chain, relay.key, authority.ca, wrong)
