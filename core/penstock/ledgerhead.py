"""The head of a site's ledger: the number of its newest record, the chain's hash there, a signature. Pure.

The agent sends it over the link (LEDGER, PROTOCOL.md section 21), the relay keeps the newest and gives it
back, an auditor takes it as a file. A ledger that was cut short or put back does not go with an older head.
"""

import base64
import binascii
import struct
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from penstock.tunnel.frames import Ledger

KEY_BYTES: Final = 32
HASH_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
MAX_N: Final = 2**53 - 1
"""The largest number that every reader of JSON holds exactly."""
MAX_AT_MS: Final = 253_402_300_799_999
"""The end of the year 9999."""
MAX_FILE: Final = 1 << 20
"""Bytes of a file with heads."""

_CONTEXT: Final = b"penstock ledger head v1\0"
_SIGNED: Final = struct.Struct("!32sQ32sQ")
_PACKED: Final = struct.Struct("!32sQ32sQ64s")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)


class BadHead(ValueError):
    """Not a head; the text is a sentence and holds nothing of what was given."""


@dataclass(frozen=True, slots=True)
class LedgerHead:
    """What a ledger says of itself. That it is well formed and signed, :func:`verify` says."""

    key: bytes
    """Raw Ed25519 public key. It names the ledger: a new ledger has a new one."""
    n: int
    """Number of the newest record."""
    hash: bytes
    """The chain's hash at that record."""
    at_ms: int
    """When it was signed, in milliseconds since the epoch."""
    signature: bytes


def signed_bytes(head: LedgerHead) -> bytes:
    """What the signature is over; `head.signature` does not matter. Raises BadHead."""
    if not (
        len(head.key) == KEY_BYTES
        and len(head.hash) == HASH_BYTES
        and 0 <= head.n <= MAX_N
        and 0 <= head.at_ms <= MAX_AT_MS
    ):
        raise BadHead("A field of the ledger head is out of its range.")
    return _CONTEXT + _SIGNED.pack(head.key, head.n, head.hash, head.at_ms)


def sign(key: Ed25519PrivateKey, n: int, hash: bytes, at_ms: int) -> LedgerHead:
    """A signed head. Raises BadHead."""
    head = LedgerHead(key.public_key().public_bytes_raw(), n, hash, at_ms, b"")
    return replace(head, signature=key.sign(signed_bytes(head)))


def verify(head: LedgerHead) -> bool:
    """Whether it is well formed, and signed by the key that it names. Whose key that is, others know."""
    try:
        Ed25519PublicKey.from_public_bytes(head.key).verify(head.signature, signed_bytes(head))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def pack(head: LedgerHead) -> bytes:
    """144 bytes: key, n, hash, at_ms, signature. Raises BadHead."""
    signed_bytes(head)
    if len(head.signature) != SIGNATURE_BYTES:
        raise BadHead("The signature of a ledger head has 64 bytes.")
    return _PACKED.pack(head.key, head.n, head.hash, head.at_ms, head.signature)


def unpack(data: bytes) -> LedgerHead:
    """What `pack` wrote. Raises BadHead; the signature is not looked at."""
    if len(data) != _PACKED.size:
        raise BadHead("A packed ledger head has 144 bytes.")
    return LedgerHead(*_PACKED.unpack(data))


def to_frame(head: LedgerHead) -> Ledger:
    """As it travels on a link."""
    return Ledger(head.key, head.n, head.hash, head.at_ms, head.signature)


def of_frame(frame: Ledger) -> LedgerHead:
    return LedgerHead(frame.ledger, frame.n, frame.hash, frame.at_ms, frame.signature)


class _File(msgspec.Struct):
    """A head as a file: what `penstock-relay agent heads` prints, and an auditor compares a ledger with."""

    key: Annotated[str, msgspec.Meta(max_length=64)]
    n: Annotated[int, msgspec.Meta(ge=0, le=MAX_N)]
    hash: Annotated[str, msgspec.Meta(max_length=64)]
    at: Annotated[str, msgspec.Meta(max_length=40)]
    signature: Annotated[str, msgspec.Meta(max_length=128)]
    site: str = ""
    agent: str = ""


def as_json(head: LedgerHead, site: str, agent: str) -> dict[str, str | int]:
    """The members of a file. `site` and `agent` say where it was found: they are not signed."""
    return {
        "key": name_of(head.key),
        "n": head.n,
        "hash": head.hash.hex(),
        "at": moment(head),
        "signature": _text(head.signature),
        "site": site,
        "agent": agent,
    }


def name_of(key: bytes) -> str:
    """How a ledger is called where people read it: its key, as in a file."""
    return _text(key)


def moment(head: LedgerHead) -> str:
    """When it was signed, as RFC 3339 in UTC with milliseconds."""
    at = _EPOCH + head.at_ms * _MS
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def load(data: bytes) -> tuple[LedgerHead, ...]:
    """The heads in a file: one object, or an array of them. Raises BadHead; signatures are not looked at."""
    if len(data) > MAX_FILE:
        raise BadHead("The file is too large to hold ledger heads.")
    try:
        found = _file.decode(data)
        return tuple(_head(each) for each in (found if isinstance(found, list) else [found]))
    except (msgspec.DecodeError, RecursionError, ValueError, OverflowError):
        raise BadHead(
            "The file holds no ledger head. Take what 'penstock-relay agent heads SITE AGENT --json' prints."
        ) from None


_file = msgspec.json.Decoder(_File | list[_File])


def _head(file: _File) -> LedgerHead:
    at = datetime.fromisoformat(file.at)
    if at.tzinfo is None:
        raise ValueError
    return LedgerHead(
        _bytes(file.key), file.n, bytes.fromhex(file.hash), (at - _EPOCH) // _MS, _bytes(file.signature)
    )


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise ValueError from None
