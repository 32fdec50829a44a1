"""The renewal conversation: a challenge, a proof by the old key, a new certificate; JSON over a websocket.

It runs on the tunnel listener at PATH under SUBPROTOCOL, and without a client certificate, so that one that
has expired can be renewed too: who holds its key is shown by a signature over `to_sign`.
"""

import base64
import binascii
import hashlib
from typing import Annotated, TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from penstock import refusal
from penstock.enrolment import MAX_CSR, MAX_MESSAGE_BYTES, MAX_PEM
from penstock.names import BadName, parse_name
from penstock.refusal import BadRefusal, Refusal

PATH = "/renew"
SUBPROTOCOL = "penstock-renew.1"

NONCE_BYTES = 32
DIGEST_BYTES = 32
EXPIRED_FOR = 90 * 86_400.0
"""Seconds after its end for which a certificate can still be renewed."""

_CONTEXT = b"penstock-renew.1\0"
_CERTIFICATE = "-----BEGIN CERTIFICATE-----"
_REQUEST = "-----BEGIN CERTIFICATE REQUEST-----"
_MAX_SIGNATURE = 256


class BadRenewal(ValueError):
    """Not a message of this conversation; the text is a sentence and holds nothing of the message."""


class Challenge(msgspec.Struct, frozen=True, tag="challenge", tag_field="type"):
    """The relay speaks first."""

    nonce: Annotated[str, msgspec.Meta(max_length=64)]
    """base64url without padding of 32 random bytes, for this conversation alone."""

    @property
    def nonce_bytes(self) -> bytes:
        """Raises BadRenewal; not after decode_challenge, which has checked it."""
        return _bytes(self.nonce, NONCE_BYTES)


class Renew(msgspec.Struct, frozen=True, tag="renew", tag_field="type"):
    """The agent asks for a certificate for a new key, and proves that it holds the old one."""

    certificate: Annotated[str, msgspec.Meta(max_length=MAX_PEM)]
    """PEM of the certificate that it has, alone."""
    csr: Annotated[str, msgspec.Meta(max_length=MAX_CSR)]
    """PEM; only its key counts, and that it is signed by it."""
    signature: Annotated[str, msgspec.Meta(max_length=_MAX_SIGNATURE)]
    """base64url without padding: ECDSA with SHA-256 (DER) over `to_sign`, by the key of `certificate`."""

    def __repr__(self) -> str:
        return "<Renew>"


class Renewed(msgspec.Struct, frozen=True, tag="renewed", tag_field="type"):
    """The agent has a new certificate."""

    site: str
    agent: str
    certificate: Annotated[str, msgspec.Meta(max_length=MAX_PEM)]
    """PEM chain, the agent's own certificate first."""
    ca: Annotated[str, msgspec.Meta(max_length=MAX_PEM)]
    """PEM of every CA that the agent must trust from now on, and of no other."""
    generation: int
    """Counts the certificates of this agent."""
    time: int
    """The relay's clock, in seconds since the epoch: tells an agent whose own clock is wrong."""


class Stored(msgspec.Struct, frozen=True, tag="stored", tag_field="type"):
    """The agent has the new certificate on disk, and will not use the old one again."""


Answer = Renewed | Refusal

_M = TypeVar("_M")

_encoder = msgspec.json.Encoder()
_challenge = msgspec.json.Decoder(Challenge)
_renew = msgspec.json.Decoder(Renew)
_answer: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)
_stored = msgspec.json.Decoder(Stored)


def text_of(data: bytes) -> str:
    """base64url without padding: how bytes are written in these messages."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def to_sign(
    leaf: bytes, nonce: bytes, csr: x509.CertificateSigningRequest, certificate: x509.Certificate
) -> bytes:
    """What the old key signs. It ties the request to this relay, this conversation, this new key.

    `leaf` is the SHA-256 of the DER of the certificate that the relay showed in this TLS connection (the
    binding `tls-server-end-point`, RFC 5929): a signature that somebody else obtained is worth nothing here.
    Raises ValueError for another length of `leaf` or `nonce`.
    """
    if len(leaf) != DIGEST_BYTES or len(nonce) != NONCE_BYTES:
        raise ValueError("a digest and a nonce have 32 bytes")
    parts = (csr.public_bytes(Encoding.DER), certificate.public_bytes(Encoding.DER))
    return _CONTEXT + leaf + nonce + b"".join(hashlib.sha256(part).digest() for part in parts)


def leaf_digest(der: bytes) -> bytes:
    """`leaf` of `to_sign`, from the relay's certificate in DER."""
    return hashlib.sha256(der).digest()


def sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> str:
    """`signature` of Renew."""
    return text_of(key.sign(data, ec.ECDSA(hashes.SHA256())))


def proves(certificate: x509.Certificate, signature: str, data: bytes) -> bool:
    """Whether the key of `certificate` made `signature` over `data`."""
    try:
        key = certificate.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            return False
        key.verify(_bytes(signature), data, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, BadRenewal, UnsupportedAlgorithm, ValueError):
        return False
    return True


def encode(message: Challenge | Renew | Renewed | Stored | Refusal) -> str:
    """The text message to send. Raises BadRenewal when the receiver would refuse it."""
    text = _encoder.encode(message).decode()
    match message:
        case Challenge():
            decode_challenge(text)
        case Renew():
            decode_renew(text)
        case Stored():
            decode_stored(text)
        case _:
            decode_answer(text)
    return text


def decode_challenge(text: str | bytes) -> Challenge:
    """What the agent receives first. Raises BadRenewal."""
    message = _decode(_challenge, text)
    _bytes(message.nonce, NONCE_BYTES)
    return message


def decode_renew(text: str | bytes) -> Renew:
    """What the relay receives. Raises BadRenewal."""
    message = _decode(_renew, text)
    _bytes(message.signature)
    if not message.csr.startswith(_REQUEST) or not message.certificate.startswith(_CERTIFICATE):
        raise BadRenewal("The renewal holds no certificate or no certificate request: update the agent.")
    return message


def decode_answer(text: str | bytes) -> Answer:
    """What the agent receives in the end. Raises BadRenewal."""
    message = _decode(_answer, text)
    if isinstance(message, Refusal):
        try:
            refusal.check(message)
        except BadRefusal as error:
            raise BadRenewal(str(error)) from None
        return message
    try:
        parse_name(message.site, "site")
        parse_name(message.agent, "agent")
    except BadName:
        raise BadRenewal("The relay gave this agent a name that is not usable: update the relay.") from None
    if not all(pem.startswith(_CERTIFICATE) for pem in (message.certificate, message.ca)):
        raise BadRenewal("The relay's answer holds no certificate: ask the relay's operator for its log.")
    return message


def decode_stored(text: str | bytes) -> Stored:
    """What the relay receives last. Raises BadRenewal."""
    return _decode(_stored, text)


def _decode(decoder: msgspec.json.Decoder[_M], text: str | bytes) -> _M:
    wrong = BadRenewal("The other side does not speak this version of renewal: update agent and relay.")
    if len(text) > MAX_MESSAGE_BYTES:
        raise wrong
    try:
        data = text.encode() if isinstance(text, str) else text
        data.decode()  # msgspec does not look inside the members that it skips
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise wrong from None


def _bytes(text: str, length: int | None = None) -> bytes:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data or text_of(data) != text or (length is not None and len(data) != length):
        raise BadRenewal(
            "A value of the renewal is not base64url of the right length: update the other side."
        )
    return data
