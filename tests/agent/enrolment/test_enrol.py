import asyncio
import socket
import stat
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from penstock import enrolment, tls
from penstock.joinstring import JoinString
from penstock.names import AgentId
from penstock_agent import config, files, state
from penstock_agent.config import Options, Settings
from penstock_agent.enrolment import enrol, firstcontact
from penstock_agent.enrolment.enrol import EnrolError, JoinRefused, WrongRelay
from penstock_agent.problem import Exit
from tests.harness.certs import Authority
from tests.harness.fake_relay import SECRET, EnrollingAuthority, FakeRelay, enrolled, fake_relay
from tests.harness.proxy import connect_proxy

HOUR_AGO = datetime.now(UTC) - timedelta(hours=1)
SECRET_TEXT = enrolment.secret_text(SECRET)


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def relay_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "relay"
    folder.mkdir()
    return folder


@pytest.fixture
async def relay(relay_dir: Path) -> AsyncIterator[FakeRelay]:
    async with fake_relay(relay_dir) as running:
        yield running


def nobody(folder: Path, port: int) -> JoinString:
    """A join string for a relay that does not run."""
    return FakeRelay(EnrollingAuthority(folder, "nobody"), lambda _: None).join_string(port=port)


def saw_no_secret(relay: FakeRelay) -> bool:
    return relay.messages == [] and enrolment.PATH not in relay.paths


async def test_two_connections_and_the_second_carries_the_secret(relay: FakeRelay) -> None:
    got = await enrol.enrol(relay.join_string(), None)
    assert relay.paths == ["/ca", "/enrol"]
    assert got.id == AgentId("plant", "a1")
    request = enrolment.decode_enrol(relay.messages[0])
    assert request.secret_bytes == SECRET


async def test_the_key_is_p256_and_only_its_proof_travels(relay: FakeRelay) -> None:
    got = await enrol.enrol(relay.join_string(), None)
    key = serialization.load_pem_private_key(got.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert "PRIVATE" not in str(relay.messages[0])
    csr = x509.load_pem_x509_csr(enrolment.decode_enrol(relay.messages[0]).csr.encode())
    assert csr.is_signature_valid
    assert csr.public_key() == key.public_key()
    assert x509.load_pem_x509_certificate(got.certificate).public_key() == key.public_key()


# -- who is at the other end


async def test_a_wrong_pin_is_refused_before_the_secret_is_sent(relay: FakeRelay) -> None:
    wrong = bytes(32)
    with pytest.raises(WrongRelay) as caught:
        await enrol.enrol(relay.join_string(pin=wrong), None)
    assert caught.value.status == Exit.REFUSED
    text = str(caught.value)
    assert tls.spki_pin(relay.ca.certificate).hex()[:8] in text
    assert "00000000" in text
    assert "another relay" in text
    assert "TLS inspection" in text
    assert relay.paths == ["/ca"]
    assert saw_no_secret(relay)


async def test_a_genuine_ca_behind_a_foreign_certificate_is_refused_before_the_secret_is_sent(
    relay_dir: Path,
) -> None:
    # What TLS inspection looks like: /ca passes through it unharmed, and the pin matches.
    async with fake_relay(relay_dir, leaf_ca=Authority(relay_dir, "inspection")) as relay:
        with pytest.raises(WrongRelay, match=r"secret was not sent.*TLS inspection") as caught:
            await enrol.enrol(relay.join_string(), None)
        assert caught.value.status == Exit.REFUSED
        assert saw_no_secret(relay)


async def test_a_certificate_for_another_name_is_refused_before_the_secret_is_sent(relay_dir: Path) -> None:
    async with fake_relay(relay_dir, names=[x509.DNSName("relay.example")]) as relay:
        with pytest.raises(EnrolError, match=r"certificate is not for the name 127.0.0.1"):
            await enrol.enrol(relay.join_string(), None)
        with pytest.raises(EnrolError, match=r"certificate is not for the name localhost"):
            await enrol.enrol(relay.join_string(host="localhost"), None)
        assert saw_no_secret(relay)


async def test_an_expired_certificate_of_the_relay_is_refused_before_the_secret_is_sent(
    relay_dir: Path,
) -> None:
    async with fake_relay(relay_dir, not_after=HOUR_AGO) as relay:
        with pytest.raises(EnrolError, match=r"not valid at this machine's time.*clock"):
            await enrol.enrol(relay.join_string(), None)
        assert saw_no_secret(relay)


async def test_ca_file_replaces_the_trust_anchor_but_not_the_pin(relay_dir: Path, tmp_path: Path) -> None:
    company = Authority(tmp_path, "company")
    anchor = company.ca
    async with fake_relay(relay_dir, leaf_ca=company) as relay:
        assert (await enrol.enrol(relay.join_string(), None, anchor)).id.site == "plant"
        with pytest.raises(WrongRelay, match="shows a CA with the pin"):
            await enrol.enrol(relay.join_string(pin=bytes(32)), None, anchor)


async def test_a_ca_file_that_is_none_is_said_in_words(relay: FakeRelay, tmp_path: Path) -> None:
    with pytest.raises(EnrolError, match=r"none.pem cannot be used") as caught:
        await enrol.enrol(relay.join_string(), None, tmp_path / "none.pem")
    assert caught.value.status == Exit.USAGE
    assert saw_no_secret(relay)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (HTTPStatus.NOT_FOUND, "no", "answered HTTP 404 when asked for its CA"),
        (HTTPStatus.OK, "<html>", "something that is not a certificate"),
        (HTTPStatus.OK, "x" * 70_000, "far larger than a certificate"),
    ],
)
async def test_something_else_that_speaks_tls_is_no_relay(
    relay: FakeRelay, status: HTTPStatus, body: str, words: str
) -> None:
    relay.ca_status, relay.ca_body = status, body
    with pytest.raises(EnrolError, match=f"{words}: this is not a relay's tunnel listener"):
        await enrol.enrol(relay.join_string(), None)
    assert saw_no_secret(relay)


async def test_something_that_does_not_speak_tls_is_said_in_words(tmp_path: Path) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = nobody(tmp_path, port)
    with pytest.raises(EnrolError, match=r"No TLS 1.3 with 127.0.0.1"):
        await enrol.enrol(url, None)
    server.close()
    await server.wait_closed()


async def test_nobody_there_and_nobody_answering_are_said_in_words(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = nobody(tmp_path, silent.getsockname()[1])
        with pytest.raises(EnrolError, match="did not answer in time"):
            await enrol.enrol(url, None, timeout=0.1)
    with pytest.raises(EnrolError, match=r"No connection to 127.0.0.1:\d+ "):
        await enrol.enrol(url, None)


# -- what the relay says


@pytest.mark.parametrize("reason", sorted(enrolment.REASONS))
async def test_a_refusal_is_told_in_the_relays_words(relay: FakeRelay, reason: str) -> None:
    relay.answer = lambda _: enrolment.Refused(reason, f"The join string is {reason}.")
    with pytest.raises(JoinRefused, match=rf"The join string is {reason}\.$") as caught:
        await enrol.enrol(relay.join_string(), None)
    assert caught.value.status == Exit.REFUSED


async def test_no_answer_says_that_the_join_string_may_be_used_up(relay: FakeRelay) -> None:
    relay.answer = lambda _: None
    with pytest.raises(EnrolError, match="Whether the join string is used up is not known"):
        await enrol.enrol(relay.join_string(), None)


async def test_an_answer_of_another_version_is_said_in_words(relay: FakeRelay) -> None:
    relay.answer = lambda _: '{"type":"welcome"}'
    with pytest.raises(EnrolError, match="update agent and relay"):
        await enrol.enrol(relay.join_string(), None)


async def test_a_relay_that_does_not_enrol_gets_no_secret(relay_dir: Path) -> None:
    async with fake_relay(relay_dir, subprotocol=None) as relay:
        with pytest.raises(EnrolError, match="does not enrol agents"):
            await enrol.enrol(relay.join_string(), None)
        assert relay.messages == []


URI = AgentId("plant", "a1").uri
URI2 = AgentId("plant", "a2").uri


def stranger() -> ec.EllipticCurvePublicKey:
    return ec.generate_private_key(ec.SECP256R1()).public_key()


Change = Callable[[EnrollingAuthority, EnrollingAuthority, str], dict[str, str]]
#: What is changed in a good answer, given the CA, another CA and the signing request; and what is said of it.
CHANGES: dict[str, tuple[Change, str]] = {
    "key": (lambda ca, _, csr: {"certificate": ca.sign(csr, URI, key=stranger())}, "it is for another key"),
    "issuer": (lambda _, other, csr: {"certificate": other.sign(csr, URI)}, "it cannot be verified"),
    "two names": (lambda ca, _, csr: {"certificate": ca.sign(csr, URI, URI2)}, "exactly one identity"),
    "no name": (lambda ca, _, csr: {"certificate": ca.sign(csr)}, "it cannot be verified"),
    "foreign name": (
        lambda ca, _, csr: {"certificate": ca.sign(csr, "https://x.test/")},
        "not one of Penstock's",
    ),
    "other agent": (lambda ca, _, csr: {"certificate": ca.sign(csr, URI2)}, "for another site or agent"),
    "other site": (
        lambda ca, _, csr: {"certificate": ca.sign(csr, AgentId("mill", "a1").uri), "site": "mill"},
        "for another site or agent",
    ),
    "other CA": (lambda _, other, csr: {"ca": other.pem}, "its CA is not the pinned one"),
    "expired": (lambda ca, _, csr: {"certificate": ca.sign(csr, URI, not_after=HOUR_AGO)}, "Set the clock"),
    "garbage": (
        lambda *_: {"certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
        "verified",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_certificate_that_is_not_exactly_ours_is_refused(
    relay: FakeRelay, tmp_path: Path, change: str
) -> None:
    other = EnrollingAuthority(tmp_path, "other")
    alter, words = CHANGES[change]

    def answer(r: enrolment.Enrol) -> enrolment.Reply:
        good = {"site": "plant", "agent": "a1", "certificate": relay.ca.sign(r.csr, URI), "ca": relay.ca.pem}
        return msgspec.convert(
            good | alter(relay.ca, other, r.csr) | {"type": "enrolled"}, enrolment.Enrolled
        )

    relay.answer = answer
    with pytest.raises(EnrolError, match=words):
        await enrol.enrol(relay.join_string(), None)


async def test_a_chain_that_ends_with_the_ca_is_accepted(relay: FakeRelay) -> None:
    def answer(r: enrolment.Enrol) -> enrolment.Reply:
        return enrolment.Enrolled("plant", "a1", relay.ca.sign(r.csr, URI) + relay.ca.pem, relay.ca.pem)

    relay.answer = answer
    assert (await enrol.enrol(relay.join_string(), None)).id.agent == "a1"


# -- while the relay goes over to another CA


async def test_what_is_kept_is_the_whole_bundle(relay: FakeRelay, tmp_path: Path) -> None:
    new = EnrollingAuthority(tmp_path, "new")
    relay.ca_body = new.pem + relay.ca.pem  # the pinned one need not come first

    def answer(r: enrolment.Enrol) -> enrolment.Reply:
        return enrolment.Enrolled("plant", "a1", new.sign(r.csr, URI), new.pem + relay.ca.pem)

    relay.answer = answer
    got = await enrol.enrol(relay.join_string(), None)
    assert x509.load_pem_x509_certificates(got.ca) == [new.certificate, relay.ca.certificate]
    joined = state.store(tmp_path, got, None)
    assert joined.anchors == (new.certificate, relay.ca.certificate)


async def test_a_join_string_of_either_ca_is_one_for_the_same_relay(
    relay: FakeRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = EnrollingAuthority(tmp_path, "new")
    relay.answer = lambda r: enrolment.Enrolled(
        "plant", "a1", relay.ca.sign(r.csr, URI), relay.ca.pem + new.pem
    )
    state.store(tmp_path, await enrol.enrol(relay.join_string(), None), None)
    for pin in (tls.spki_pin(relay.ca.certificate), tls.spki_pin(new.certificate)):
        assert enrol._already(tmp_path, relay.join_string(pin=pin)) is not None
    with pytest.raises(EnrolError, match="already joined"):
        enrol._already(tmp_path, relay.join_string(pin=b"x" * 32))


def certified(new: EnrollingAuthority, by: EnrollingAuthority, *, ca: bool = True) -> str:
    """The name and key of ``new``, signed by ``by``."""
    moment = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(new.certificate.subject)
        .issuer_name(by.certificate.subject)
        .public_key(new._key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - timedelta(days=1))
        .not_valid_after(moment + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(by._key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        .decode()
    )


def test_the_pinned_ca_may_vouch_for_another_and_nobody_else(tmp_path: Path) -> None:
    pinned, new, evil = (EnrollingAuthority(tmp_path, name) for name in ("pinned", "new", "evil"))
    pin = tls.spki_pin(pinned.certificate)

    def trusted(*shown: str) -> list[bytes]:
        cas = x509.load_pem_x509_certificates("".join(shown).encode())
        return [tls.spki_pin(ca) for ca in firstcontact.trusted(cas, pin)]

    assert trusted(pinned.pem) == [pin]
    assert trusted(new.pem, pinned.pem, certified(new, pinned)) == [pin, tls.spki_pin(new.certificate)]
    # A stranger's word, a stranger itself, and an agent's certificate count for nothing.
    assert trusted(pinned.pem, new.pem, certified(new, evil), evil.pem) == [pin]
    assert trusted(pinned.pem, certified(new, pinned, ca=False)) == [pin]
    assert trusted(new.pem, certified(pinned, new)) == [pin]
    assert trusted(new.pem, evil.pem) == []


# -- through a proxy


async def test_both_connections_go_through_the_proxy(relay: FakeRelay) -> None:
    async with connect_proxy(credentials="me:p@ss word") as proxy:
        await enrol.enrol(relay.join_string(), proxy.url_with("me:p%40ss%20word"))
        assert proxy.targets == [f"127.0.0.1:{relay.port}"] * 2
        # Inside is TLS: the proxy never saw the secret.
        assert SECRET_TEXT.encode() not in proxy.upstream
        assert len(proxy.upstream) > 1000


async def test_names_are_resolved_by_the_proxy(relay_dir: Path) -> None:
    async with fake_relay(relay_dir, names=[x509.DNSName("relay.test")]) as relay:
        routes = {"relay.test:8443": ("127.0.0.1", relay.port)}
        async with connect_proxy(routes=routes) as proxy:
            await enrol.enrol(relay.join_string(host="relay.test", port=8443), proxy.url)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (407, r"wants a user name and password \(407\)"),
        (403, r"does not allow 127.0.0.1:\d+ \(403\)"),
        (502, r"could not open a connection .* \(status 502\)"),
    ],
)
async def test_a_refusal_of_the_proxy_is_said_in_words(relay: FakeRelay, status: int, words: str) -> None:
    async with connect_proxy(refuse_with=status) as proxy:
        with pytest.raises(EnrolError, match=words):
            await enrol.enrol(relay.join_string(), proxy.url)
    assert relay.paths == []


async def test_wrong_proxy_credentials_are_named_without_the_password(relay: FakeRelay) -> None:
    async with connect_proxy(credentials="me:right") as proxy:
        with pytest.raises(EnrolError, match="407") as caught:
            await enrol.enrol(relay.join_string(), proxy.url_with("me:hunter2"))
        assert "hunter2" not in str(caught.value)
        assert proxy.targets == []


async def test_a_proxy_that_is_none_is_said_in_words(relay: FakeRelay) -> None:
    # The relay's own listener answers plain HTTP with a TLS alert or nothing.
    with pytest.raises(EnrolError, match=r"does not answer like an HTTP proxy|closed the connection|No conn"):
        await enrol.enrol(relay.join_string(), f"http://127.0.0.1:{relay.port}")


# -- the command's side: join()


def settings(tmp_path: Path) -> Settings:
    text = 'proxy = "none"\n'
    return config.parse(text, tmp_path / "agent.toml", Options(state_dir=tmp_path / "state"), {})


async def join(relay: FakeRelay, tmp_path: Path, text: str | None = None) -> enrol.Outcome:
    return await asyncio.to_thread(enrol.join, text or relay.join_string().dump(), settings(tmp_path))


async def test_join_stores_everything_for_the_owner_only(relay: FakeRelay, tmp_path: Path) -> None:
    outcome = await join(relay, tmp_path)
    folder = tmp_path / "state"
    assert outcome.new
    assert sorted(p.name for p in folder.iterdir()) == ["agent.json", "ca.pem", "identity.pem"]
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    joined = state.load(folder)
    assert (joined.relay_url, joined.id) == (relay.join_string().url, AgentId("plant", "a1"))
    assert len(bytes.fromhex(joined.instance)) == 16
    tls.client_context(joined.ca_file, joined.certificate_file, joined.key_file)  # they belong together


async def test_joining_twice_is_harmless_and_uses_nothing(relay: FakeRelay, tmp_path: Path) -> None:
    first = await join(relay, tmp_path)
    before = {p.name: p.read_bytes() for p in (tmp_path / "state").iterdir()}
    relay.paths.clear()
    second = await join(relay, tmp_path)
    assert not second.new
    assert second.joined.instance == first.joined.instance
    assert relay.paths == []
    assert {p.name: p.read_bytes() for p in (tmp_path / "state").iterdir()} == before


async def test_joining_anew_gives_the_old_identity_up_if_that_is_asked_for(
    relay: FakeRelay, tmp_path: Path
) -> None:
    first = await join(relay, tmp_path)
    relay.answer = enrolled(relay.ca, agent="a2")
    text = relay.join_string().dump()
    second = await asyncio.to_thread(enrol.join, text, settings(tmp_path), replace=True)
    assert second.new
    joined = state.load(tmp_path / "state")
    assert (joined.id.agent, joined.instance) == ("a2", second.joined.instance)
    assert joined.instance != first.joined.instance
    assert joined.key().public_key() == joined.certificate.public_key()


async def test_whether_somebody_must_approve_the_agent_is_told(relay: FakeRelay, tmp_path: Path) -> None:
    usual = enrolled(relay.ca)

    def answer(request: enrolment.Enrol) -> enrolment.Reply:
        reply = usual(request)
        assert isinstance(reply, enrolment.Enrolled)
        return msgspec.structs.replace(reply, approval=True)

    relay.answer = answer
    outcome = await join(relay, tmp_path)
    assert outcome.approval
    assert not (await join(relay, tmp_path)).approval


async def test_every_ca_that_comes_with_the_pinned_one_is_trusted(relay: FakeRelay, tmp_path: Path) -> None:
    next_ca = Authority(tmp_path, "next")
    usual = enrolled(relay.ca)

    def answer(request: enrolment.Enrol) -> enrolment.Reply:
        reply = usual(request)
        assert isinstance(reply, enrolment.Enrolled)
        return msgspec.structs.replace(reply, ca=next_ca.ca.read_text() + relay.ca.pem)

    relay.answer = answer
    outcome = await join(relay, tmp_path)
    assert outcome.joined.anchors == (next_ca.certificate, relay.ca.certificate)
    assert not (await join(relay, tmp_path)).new, "the pin is that of one of them"


async def test_joining_elsewhere_is_refused_in_words(relay: FakeRelay, tmp_path: Path) -> None:
    await join(relay, tmp_path)
    relay.paths.clear()
    for other in (relay.join_string(pin=bytes(32)), relay.join_string(port=1)):
        with pytest.raises(EnrolError, match=r"has already joined the site plant at wss://") as caught:
            await join(relay, tmp_path, other.dump())
        assert caught.value.status == Exit.USAGE
    assert relay.paths == []


async def test_an_altered_join_string_is_refused_before_any_connection(
    relay: FakeRelay, tmp_path: Path
) -> None:
    text = relay.join_string().dump()
    altered = text[:-3] + ("A" if text[-3] != "A" else "B") + text[-2:]
    with pytest.raises(EnrolError, match="damaged") as caught:
        await join(relay, tmp_path, altered)
    assert caught.value.status == Exit.USAGE
    assert relay.paths == []


async def test_a_refused_join_leaves_nothing_behind(relay: FakeRelay, tmp_path: Path) -> None:
    relay.answer = lambda _: enrolment.Refused("used", "The join string has been used.")
    with pytest.raises(JoinRefused):
        await join(relay, tmp_path)
    assert list((tmp_path / "state").iterdir()) == []


async def test_a_folder_that_cannot_be_written_is_noticed_before_the_secret_is_sent(
    relay: FakeRelay, tmp_path: Path
) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    with pytest.raises(state.StateError, match="cannot be"):
        await join(relay, tmp_path)
    assert relay.paths == []


async def test_a_full_disk_leaves_no_half_state(
    relay: FakeRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = files.write_atomic

    def full(path: Path, data: bytes, mode: int, owner: tuple[int, int] | None) -> None:
        if path.name == "ca.pem":
            raise OSError(28, "No space left on device")
        write(path, data, mode, owner)

    monkeypatch.setattr(state, "write_atomic", full)
    with pytest.raises(state.StateError, match="No space left"):
        await join(relay, tmp_path)
    assert list((tmp_path / "state").iterdir()) == []


async def test_a_second_join_at_the_same_time_is_refused(relay: FakeRelay, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    state.prepare(folder)
    with state.exclusive(folder), pytest.raises(state.StateError, match="Another penstock-agent join"):
        await join(relay, tmp_path)
    assert relay.paths == []
