"""Enrolment: one use of one secret, a certificate for the key that asked, refusals in words."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from penstock.enrolment import Enrol, Enrolled, Refused, encode, secret_text
from penstock.names import AgentId
from penstock_relay.ca import CertificateAuthority
from penstock_relay.enrolment import enrol, new_secret, secret_hash
from penstock_relay.store import Invite, Store

NOW = 1_800_000_000.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'relay.db'}") as store:
        await store.sites.add("mill", NOW)
        yield store


@pytest.fixture
def ca(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority.open(tmp_path, NOW)


@pytest.fixture
async def secret(store: Store) -> bytes:
    secret = new_secret()
    await store.invites.create("mill", secret_hash(secret), NOW, NOW + 3600)
    return secret


def csr(key: ec.EllipticCurvePrivateKey | None = None) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    signed = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(Encoding.PEM).decode()


def asking(secret: bytes, request: str | None = None) -> Enrol:
    return Enrol(secret=secret_text(secret), csr=csr() if request is None else request)


def refusal(reply: Enrolled | Refused) -> Refused:
    assert isinstance(reply, Refused)
    encode(reply)  # the agent must be able to read it
    return reply


async def test_a_good_secret_gets_a_certificate_under_a_name_that_the_relay_chose(
    store: Store, ca: CertificateAuthority, secret: bytes
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    reply = await enrol(asking(secret, csr(key)), store, ca, NOW)
    assert isinstance(reply, Enrolled)
    encode(reply)
    certificate = x509.load_pem_x509_certificate(reply.certificate.encode())
    certificate.verify_directly_issued_by(ca.certificate)
    assert certificate.public_key() == key.public_key()
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert reply.site == "mill"
    assert [AgentId.from_uri(str(name.value)) for name in names] == [AgentId("mill", reply.agent)]
    assert reply.ca.encode() == ca.pem
    [agent] = await store.agents.list("mill")
    assert agent.id == AgentId("mill", reply.agent)
    assert int(agent.serial, 16) == certificate.serial_number
    assert agent.not_after == certificate.not_valid_after_utc.timestamp()
    assert agent.enrolled_at == NOW


async def test_an_enrolment_is_recorded_as_done_by_the_join_string(
    store: Store, ca: CertificateAuthority, secret: bytes
) -> None:
    reply = await enrol(asking(secret), store, ca, NOW)
    assert isinstance(reply, Enrolled)
    made, used = [entry.values() for entry in await store.audit.last(2)]
    assert (made["kind"], used["kind"]) == ("agent_invited", "agent_enrolled")
    name = made["about"]["invite"]
    assert secret_hash(secret).hex().startswith(name)
    assert used["actor"] == {"kind": "invite", "invite": name, "site": "mill"}
    assert used["about"]["agent"] == reply.agent
    assert secret.hex() not in str(used)


async def test_agents_of_one_site_get_names_of_their_own(store: Store, ca: CertificateAuthority) -> None:
    names = set()
    for _ in range(5):
        secret = new_secret()
        await store.invites.create("mill", secret_hash(secret), NOW, NOW + 3600)
        reply = await enrol(asking(secret), store, ca, NOW)
        assert isinstance(reply, Enrolled)
        names.add(reply.agent)
    assert len(names) == 5


async def test_a_used_join_string_is_refused_in_words(
    store: Store, ca: CertificateAuthority, secret: bytes
) -> None:
    await enrol(asking(secret), store, ca, NOW)
    reply = refusal(await enrol(asking(secret), store, ca, NOW))
    assert reply.reason == "used"
    assert "has been used already" in reply.text
    assert "penstock-relay agent invite" in reply.text


async def test_an_expired_join_string_is_refused_in_words(
    store: Store, ca: CertificateAuthority, secret: bytes
) -> None:
    reply = refusal(await enrol(asking(secret), store, ca, NOW + 3600))
    assert reply.reason == "expired"
    assert "has expired" in reply.text
    assert isinstance(await enrol(asking(secret), store, ca, NOW + 3599.9), Enrolled)


async def test_an_altered_secret_is_unknown(store: Store, ca: CertificateAuthority, secret: bytes) -> None:
    for position in range(len(secret)):
        altered = bytearray(secret)
        altered[position] ^= 1
        reply = refusal(await enrol(asking(bytes(altered)), store, ca, NOW))
        assert reply.reason == "unknown"
        assert "does not know this join string" in reply.text
    assert await store.agents.list() == []


@pytest.mark.parametrize("text", ["", "AAAA", "!" * 22, "A" * 64])
async def test_a_secret_without_the_form_of_one_is_malformed(
    text: str, store: Store, ca: CertificateAuthority
) -> None:
    assert refusal(await enrol(Enrol(secret=text, csr=csr()), store, ca, NOW)).reason == "malformed"


async def test_a_bad_request_does_not_burn_the_invite(
    store: Store, ca: CertificateAuthority, secret: bytes
) -> None:
    for bad in ("junk", csr(ec.generate_private_key(ec.SECP384R1())), csr() + "x" * 9000):
        reply = refusal(await enrol(asking(secret, bad), store, ca, NOW))
        assert reply.reason == "malformed"
        assert "penstock-agent" in reply.text
    assert await store.invites.find(secret_hash(secret), NOW) == Invite("mill", NOW + 3600)
    assert isinstance(await enrol(asking(secret), store, ca, NOW), Enrolled)


async def test_of_fifty_parallel_uses_one_gets_in(
    store: Store, ca: CertificateAuthority, secret: bytes, tmp_path: Path
) -> None:
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'relay.db'}") as other:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(enrol(asking(secret), (store, other)[n % 2], ca, NOW)) for n in range(50)
            ]
        replies = [task.result() for task in tasks]
    assert sum(isinstance(reply, Enrolled) for reply in replies) == 1
    assert [reply.reason for reply in replies if isinstance(reply, Refused)] == ["used"] * 49
    assert len(await store.agents.list("mill")) == 1


async def test_no_secret_reaches_the_disk(
    store: Store, ca: CertificateAuthority, secret: bytes, tmp_path: Path
) -> None:
    await enrol(asking(secret), store, ca, NOW)
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        assert secret not in content
        assert secret_text(secret).encode() not in content
