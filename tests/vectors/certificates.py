"""Proofs and statements for certificates.json. Keys and dates are fixed, signatures deterministic (RFC 6979)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from penstock.names import AgentId
from penstock.renewal import text_of, to_sign
from tests.vectors.values import Json

BEGIN = datetime(2027, 1, 1, tzinfo=UTC)
LEAF = bytes(range(32))
NONCE = bytes(range(32, 64))
SERIAL = 0x1F2E3D


def _key(number: int) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(number, ec.SECP256R1())


@dataclass(frozen=True)
class _Ca:
    name: str
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate(self) -> x509.Certificate:
        return self._sign(self.name, self.key.public_key(), 1, [])

    def agent(self, key: ec.EllipticCurvePrivateKey, serial: int) -> x509.Certificate:
        names = [x509.UniformResourceIdentifier(AgentId("plant", "pump-house").uri)]
        return self._sign("", key.public_key(), serial, names)

    def _sign(
        self, name: str, key: ec.EllipticCurvePublicKey, serial: int, names: list[x509.UniformResourceIdentifier]
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name(self.name))
            .public_key(key)
            .serial_number(serial)
            .not_valid_before(BEGIN)
            .not_valid_after(BEGIN + timedelta(days=7))
            .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
        return builder.sign(self.key, hashes.SHA256(), ecdsa_deterministic=True)

    def statement(self, serial: int, reason: x509.ReasonFlags | None) -> str:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(BEGIN + timedelta(days=1))
        if reason is not None:
            entry = entry.add_extension(x509.CRLReason(reason), critical=False)
        return (
            x509.CertificateRevocationListBuilder()
            .issuer_name(_name(self.name))
            .last_update(BEGIN + timedelta(days=2))
            .next_update(BEGIN + timedelta(days=3))
            .add_revoked_certificate(entry.build())
            .sign(self.key, hashes.SHA256(), ecdsa_deterministic=True)
            .public_bytes(Encoding.PEM)
            .decode()
        )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])


def _pem(thing: x509.Certificate | x509.CertificateSigningRequest) -> str:
    return thing.public_bytes(Encoding.PEM).decode()


def proofs() -> list[Json]:
    old, new, thief = _key(2), _key(3), _key(4)
    certificate = _Ca("relay CA", _key(1)).agent(old, SERIAL)
    csr = x509.CertificateSigningRequestBuilder().subject_name(_name("")).sign(
        new, hashes.SHA256(), ecdsa_deterministic=True
    )
    data = to_sign(LEAF, NONCE, csr, certificate)

    def proof(
        name: str, key: ec.EllipticCurvePrivateKey, good: bool, leaf: bytes = LEAF, nonce: bytes = NONCE
    ) -> Json:
        signed = to_sign(leaf, nonce, csr, certificate)
        signature = key.sign(signed, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        return {
            "name": name, "leaf": LEAF.hex(), "nonce": NONCE.hex(), "certificate": _pem(certificate),
            "csr": _pem(csr), "signed": data.hex(), "signature": text_of(signature), "good": good,
        }  # fmt: skip

    return [
        proof("proof by the old key", old, True),
        proof("proof by the new key", new, False),
        proof("proof by another key", thief, False),
        proof("proof for another relay", old, False, leaf=NONCE),
        proof("proof for another conversation", old, False, nonce=LEAF),
    ]


def statements() -> list[Json]:
    ca, after, stranger = _Ca("relay CA", _key(1)), _Ca("next CA", _key(5)), _Ca("relay CA", _key(6))
    trusted: Json = [_pem(ca.certificate), _pem(after.certificate)]
    revoked, replaced = x509.ReasonFlags.privilege_withdrawn, x509.ReasonFlags.superseded
    at = int((BEGIN + timedelta(days=1)).timestamp())

    def statement(name: str, text: str, expect: Json) -> Json:
        return {"name": name, "cas": trusted, "serial": f"{SERIAL:x}", "statement": text, "expect": expect}

    return [
        statement("revoked", ca.statement(SERIAL, revoked), {"at": at, "replaced": False}),
        statement("replaced", ca.statement(SERIAL, replaced), {"at": at, "replaced": True}),
        statement("no reason given", ca.statement(SERIAL, None), {"at": at, "replaced": False}),
        statement("by the other CA that is trusted", after.statement(SERIAL, revoked), {"at": at, "replaced": False}),
        statement("for another serial number", ca.statement(SERIAL + 1, revoked), None),
        statement("by a stranger of the same name", stranger.statement(SERIAL, revoked), None),
        statement("no statement", "", None),
    ]


def certificates() -> Json:
    return [*proofs(), *statements()]
