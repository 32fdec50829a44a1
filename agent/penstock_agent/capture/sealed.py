"""How what is captured is sealed: to a public key, so that nobody on this machine can read it back.

A file is one line of JSON, and then pieces, each with its length before it (4 bytes, the highest first). Each
file has a key of its own, which stands in its first line, sealed to the recipient by HPKE (RFC 9180, single
shot: X25519, HKDF-SHA256, ChaCha20-Poly1305). The pieces are sealed with that key by ChaCha20-Poly1305, whose
nonce is the number of the piece and whose additional data is the first line: no piece can be changed, moved,
or put into another file unnoticed. Whether pieces at the end are missing, the ledger tells.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from typing import BinaryIO, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
INFO: Final = b"penstock capture 1"
PUBLIC: Final = "penstock-capture:"
PRIVATE: Final = "penstock-capture-private:"
MAX_PIECE: Final = 256 << 20
"""Bytes of a piece that is read; what is larger is no piece."""
MAX_LINE: Final = 4096
_KEY: Final = 32


class Unreadable(Exception):
    """Not sealed so, or to another key; the text says which."""


class Piece(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is said of the bytes that follow it."""

    at: float
    """Seconds since 1970."""
    exchange: str
    way: str
    """``in``: a request; ``out``: a piece of an answer."""
    offset: int = 0


class _Head(msgspec.Struct, frozen=True):
    capture: int
    recipient: str
    sealed: str


_heads: Final = msgspec.json.Decoder(_Head)
_pieces: Final = msgspec.json.Decoder(Piece)
_encode: Final = msgspec.json.Encoder().encode


def generate() -> tuple[str, str]:
    """A private key, and the public one of it, as people write them."""
    private = X25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    return PRIVATE + _text(private.private_bytes_raw()), PUBLIC + _text(public)


def public(text: str) -> X25519PublicKey:
    """Raises ValueError."""
    if text.startswith(PRIVATE):
        raise ValueError("is the private key, which must not be on this machine; write the public one")
    return X25519PublicKey.from_public_bytes(_bytes(text, PUBLIC))


def private(text: str) -> X25519PrivateKey:
    """Raises ValueError."""
    return X25519PrivateKey.from_private_bytes(_bytes(text.strip(), PRIVATE))


class Sealer:
    """Of one file."""

    def __init__(self, recipient: str) -> None:
        key = os.urandom(_KEY)
        sealed = SUITE.encrypt(key, public(recipient), INFO)
        self.line = _encode(_Head(1, recipient, _text(sealed))) + b"\n"
        """What it begins with."""
        self._aead = ChaCha20Poly1305(key)
        self._number = 0

    def seal(self, piece: Piece, data: bytes) -> bytes:
        """What is appended."""
        text = _encode(piece) + b"\n" + data
        sealed = self._aead.encrypt(_nonce(self._number), text, self.line)
        self._number += 1
        return len(sealed).to_bytes(4) + sealed


def unseal(file: BinaryIO, key: X25519PrivateKey, size: int) -> Iterator[tuple[Piece, bytes]]:
    """What is in the first ``size`` bytes of a file. A last piece that is not whole is passed over: a crash
    leaves that, and a file that grows meanwhile.

    Raises Unreadable.
    """
    line = file.readline(MAX_LINE)
    try:
        head = _heads.decode(line)
        sealed = base64.urlsafe_b64decode(head.sealed + "=" * (-len(head.sealed) % 4))
    except (msgspec.MsgspecError, ValueError):
        raise Unreadable("it is no file of captured payload") from None
    if head.capture != 1:
        raise Unreadable("a later version wrote it")
    try:
        aead = ChaCha20Poly1305(SUITE.decrypt(sealed, key, INFO))
    except Exception:
        # What it raises is not said where it is defined.
        raise Unreadable(f"it is sealed to another key, {head.recipient[:100]}") from None
    number = 0
    while len(said_length := file.read(4)) == 4:
        length = int.from_bytes(said_length)
        if length > MAX_PIECE:
            raise Unreadable(f"piece {number + 1} was changed")
        if file.tell() + length > size or len(sealed := file.read(length)) < length:
            return
        try:
            said, _, data = aead.decrypt(_nonce(number), sealed, line).partition(b"\n")
            piece = _pieces.decode(said)
        except (InvalidTag, msgspec.MsgspecError):
            raise Unreadable(f"piece {number + 1} was changed") from None
        yield piece, data
        number += 1


def _nonce(number: int) -> bytes:
    return number.to_bytes(12)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str, prefix: str) -> bytes:
    if text.startswith(prefix):
        try:
            found = base64.b64decode(text[len(prefix) :] + "=", altchars=b"-_", validate=True)
        except ValueError:
            found = b""
        if len(found) == _KEY:
            return found
    raise ValueError(
        f"is no key of captured payload; it begins with {prefix} (penstock-agent capture keygen)"
    )
