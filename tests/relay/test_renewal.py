"""Renewal: who proves to hold the key of the latest certificate gets the next one; nobody else does."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import text

from penstock import fingerprint, refusal, revocation
from penstock.names import AgentId
from penstock.refusal import Refusal
from penstock.renewal import EXPIRED_FOR, Renew, Renewed, encode, sign, to_sign
from penstock_relay import renewal
from penstock_relay.ca import AGENT_VALIDITY, CertificateAuthority, parse_csr, serial_text
from penstock_relay.store import Agent, Lock, Store

NOW = 1_800_000_000.0
DAY = 86_400.0
ONE = AgentId("mill", "one")
LEAF = b"l" * 32
NONCE = b"n" * 32


@dataclass(frozen=True)
class Identity:
    """A certificate and its key."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def serial(self) -> str:
        return serial_text(self.certificate)


def pem(thing: x509.Certificate | x509.CertificateSigningRequest) -> str:
    return thing.public_bytes(Encoding.PEM).decode()


def csr_of(key: ec.EllipticCurvePrivateKey) -> x509.CertificateSigningRequest:
    return x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass
class Place:
    """A relay with one agent, and what its agents do."""

    store: Store
    ca: CertificateAuthority
    linked: bool = False

    async def enrol(self, agent: AgentId = ONE, *, approved: bool = True) -> Identity:
        key = new_key()
        certificate = self.ca.sign_agent(parse_csr(pem(csr_of(key))), agent, NOW)
        await self.store.agents.add(
            Agent(
                agent,
                serial_text(certificate),
                certificate.not_valid_after_utc.timestamp(),
                NOW,
                NOW if approved else None,
                fingerprint.of_key(key.public_key()),
            )
        )
        return Identity(key, certificate)

    async def ask(
        self, request: Renew, now: float = NOW + DAY, leaves: tuple[bytes, ...] = (LEAF,)
    ) -> Renewed | Refusal:
        answer = await renewal.renew(request, NONCE, leaves, self.store, self.ca, now, lambda _: self.linked)
        encode(answer)  # the agent must be able to read it
        return answer

    async def renew(self, old: Identity, now: float = NOW + DAY) -> Identity:
        key = new_key()
        answer = await self.ask(request_of(old, key), now)
        assert isinstance(answer, Renewed), answer
        return Identity(key, x509.load_pem_x509_certificate(answer.certificate.encode()))

    async def refused(self, old: Identity, now: float = NOW + DAY) -> Refusal:
        answer = await self.ask(request_of(old), now)
        assert isinstance(answer, Refusal)
        return answer

    async def agent(self) -> Agent:
        found = await self.store.agents.find(ONE)
        assert found is not None
        return found


def request_of(old: Identity, key: ec.EllipticCurvePrivateKey | None = None) -> Renew:
    csr = csr_of(key or new_key())
    signature = sign(old.key, to_sign(LEAF, NONCE, csr, old.certificate))
    return Renew(pem(old.certificate), pem(csr), signature)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'relay.db'}") as store:
        await store.sites.add("mill", NOW)
        yield Place(store, CertificateAuthority.open(tmp_path, NOW))


async def test_the_new_certificate_is_for_the_new_key_and_the_same_agent(place: Place) -> None:
    old, key, now = await place.enrol(), new_key(), NOW + DAY
    answer = await place.ask(request_of(old, key), now)
    assert isinstance(answer, Renewed)
    fresh = x509.load_pem_x509_certificate(answer.certificate.encode())
    fresh.verify_directly_issued_by(place.ca.certificate)
    assert fresh.public_key() == key.public_key()
    names = fresh.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == [ONE.uri]
    assert fresh.not_valid_after_utc.timestamp() == now + AGENT_VALIDITY.total_seconds()
    assert (answer.site, answer.agent, answer.generation, answer.time) == ("mill", "one", 2, int(now))
    assert answer.ca.encode() == place.ca.pem
    found = await place.agent()
    assert (found.serial, found.fingerprint) == (serial_text(fresh), fingerprint.of_key(key.public_key()))
    assert renewal.serial_of(answer) == found.serial


async def test_a_life_of_renewals(place: Place) -> None:
    identity = await place.enrol()
    for week in range(20):
        identity = await place.renew(identity, NOW + week * 7 * DAY)
    assert (await place.agent()).generation == 21


async def test_one_that_has_expired_is_renewed_for_90_days(place: Place) -> None:
    old = await place.enrol()
    end = old.certificate.not_valid_after_utc.timestamp()
    said = await place.refused(old, end + EXPIRED_FOR)
    assert said.reason == refusal.EXPIRED
    assert "penstock-relay agent invite mill --replace one" in said.text
    await place.renew(old, end + EXPIRED_FOR - 1)


# -- proof ----------------------------------------------------------------------------------------


async def test_without_the_key_of_the_certificate_nothing_is_said_or_done(place: Place) -> None:
    old = await place.enrol()
    await place.renew(old)
    before = await place.store.change_sequence()
    await place.store.agents.revoke(ONE, NOW)
    for thief in (Identity(new_key(), old.certificate), replace(old, key=new_key())):
        said = await place.refused(thief)
        assert (said.reason, said.statement) == (refusal.MALFORMED, "")
    assert await place.store.change_sequence() == before + 1, "the revocation alone"


async def test_a_proof_for_another_relay_or_conversation_is_worth_nothing(place: Place) -> None:
    old = await place.enrol()
    csr = csr_of(new_key())
    for leaf, nonce in ((b"x" * 32, NONCE), (LEAF, b"x" * 32)):
        signature = sign(old.key, to_sign(leaf, nonce, csr, old.certificate))
        said = await place.ask(Renew(pem(old.certificate), pem(csr), signature))
        assert isinstance(said, Refusal)
        assert "not signed by the key of its certificate for this connection" in said.text
    assert (await place.agent()).generation == 1


async def test_a_proof_for_another_new_key_is_worth_nothing(place: Place) -> None:
    old = await place.enrol()
    request = request_of(old)
    said = await place.ask(Renew(request.certificate, pem(csr_of(new_key())), request.signature))
    assert isinstance(said, Refusal)
    assert (await place.agent()).generation == 1


async def test_the_certificate_may_have_changed_between_handshake_and_renewal(place: Place) -> None:
    old = await place.enrol()
    assert isinstance(await place.ask(request_of(old), leaves=(b"x" * 32, LEAF)), Renewed)
    said = await place.ask(request_of(old), leaves=())
    assert isinstance(said, Refusal)


async def test_a_certificate_of_ones_own_making_with_a_known_serial_is_unknown(place: Place) -> None:
    old = await place.enrol()
    await place.renew(old)
    await place.store.certificates.confirm((await place.agent()).serial, NOW)
    key = new_key()
    forged = (
        x509.CertificateBuilder()
        .subject_name(old.certificate.subject)
        .issuer_name(old.certificate.issuer)
        .public_key(key.public_key())
        .serial_number(old.certificate.serial_number)
        .not_valid_before(old.certificate.not_valid_before_utc)
        .not_valid_after(old.certificate.not_valid_after_utc)
        .sign(key, hashes.SHA256())
    )
    said = await place.refused(Identity(key, forged))
    assert said.reason == refusal.UNKNOWN
    assert (await place.agent()).lock is None, "nor can it lock the agent"
    # Of the first version only the serial is known: then the authority itself must have signed.
    async with place.store._database.writing() as connection:
        await connection.execute(text("UPDATE agent_certificates SET fingerprint = NULL"))
    assert (await place.refused(Identity(key, forged))).reason == refusal.UNKNOWN
    assert (await place.refused(old)).reason == refusal.LOCKED


async def test_a_certificate_that_the_store_does_not_know_is_unknown_and_not_more(place: Place) -> None:
    # As after a restored backup: it is genuine, and nothing is known of its agent.
    key = new_key()
    genuine = place.ca.sign_agent(csr_of(key), AgentId("mill", "two"), NOW)
    said = await place.refused(Identity(key, genuine))
    assert (said.reason, said.statement) == (refusal.UNKNOWN, "")


@pytest.mark.parametrize(
    ("certificate", "csr"),
    [
        ("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", None),
        (None, "-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n"),
    ],
)
async def test_what_cannot_be_read_is_refused_in_words(
    place: Place, certificate: str | None, csr: str | None
) -> None:
    good = request_of(await place.enrol())
    said = await place.ask(Renew(certificate or good.certificate, csr or good.csr, good.signature))
    assert isinstance(said, Refusal)
    assert said.reason == refusal.MALFORMED
    assert said.text.endswith("Update penstock-agent.")


# -- copies ---------------------------------------------------------------------------------------


async def test_a_clone_is_noticed_at_its_first_renewal(place: Place) -> None:
    copied = await place.enrol()
    fresh = await place.renew(copied)
    await place.store.certificates.confirm(fresh.serial, NOW)
    place.linked = True
    said = await place.refused(copied)
    assert said.reason == refusal.LOCKED
    assert "Another machine uses a copy" in said.text
    assert "penstock-relay agent invite mill --replace one" in said.text
    assert (await place.refused(fresh)).reason == refusal.LOCKED, "who of the two is the copy cannot be told"
    assert (await place.agent()).lock is Lock.CLONE


async def test_a_clone_that_renews_first_is_noticed_when_the_other_does(place: Place) -> None:
    copied = await place.enrol()
    thief = await place.renew(copied)
    await place.store.certificates.confirm(thief.serial, NOW)
    assert (await place.refused(copied)).reason == refusal.LOCKED
    assert (await place.refused(thief)).reason == refusal.LOCKED


async def test_a_thief_that_hides_its_renewal_is_noticed_when_it_uses_it(place: Place) -> None:
    copied = await place.enrol()
    thief = await place.renew(copied)  # and says nothing
    honest = await place.renew(copied)  # as after a lost answer
    await place.store.certificates.confirm(honest.serial, NOW)
    assert (await place.refused(thief)).reason == refusal.LOCKED


async def test_a_restored_snapshot_is_told_from_a_clone_as_far_as_that_can_be_told(place: Place) -> None:
    snapshot = await place.enrol()
    await place.store.certificates.confirm((await place.renew(snapshot)).serial, NOW)
    said = await place.refused(snapshot)
    assert said.reason == refusal.LOCKED
    assert "restored from a snapshot or a backup" in said.text
    assert (await place.agent()).lock is Lock.SNAPSHOT


async def test_answers_that_are_lost_lock_nobody(place: Place) -> None:
    old = await place.enrol()
    for _ in range(5):
        await place.renew(old)
    fresh = await place.renew(old)
    await place.store.certificates.confirm(fresh.serial, NOW)
    await place.renew(fresh)
    assert (await place.agent()).lock is None


async def test_who_is_revoked_or_not_approved_gets_no_certificate(place: Place) -> None:
    old = await place.enrol()
    await place.store.agents.revoke(ONE, NOW)
    said = await place.refused(old)
    assert said.reason == refusal.REVOKED
    found = revocation.read(said.statement, old.certificate.serial_number, [place.ca.certificate])
    assert found.at.timestamp() == NOW
    waiting = await place.enrol(AgentId("mill", "two"), approved=False)
    assert (await place.refused(waiting)).reason == refusal.WAITING
