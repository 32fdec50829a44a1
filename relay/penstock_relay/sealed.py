"""Secrets at rest: sealed with the master key, or plain where the operator has set none.

A sealed secret is one line of ASCII: ``penstock-sealed.1.KEYID.DATA``. KEYID says which master key opens it,
DATA is nonce and AES-256-GCM ciphertext in base64url. Every purpose has a key of its own (HKDF-SHA256), and
purpose and key id are authenticated: a secret opens for what it was sealed for, and for nothing else.
"""

import base64
import binascii
import os
import secrets
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from penstock_relay import files

PREFIX: Final = b"penstock-sealed.1."
KEY_BYTES: Final = 32
MAX_KEYS: Final = 8
"""Master keys in one file: the one that seals, and older ones that still open."""
LEAST_DISTINCT: Final = 12
"""Different byte values in a key. 32 random bytes have about 30; fewer than this is no random key."""

_NONCE_BYTES: Final = 12
_MAX_FILE: Final = 4096
_HOW: Final = "Make one with: openssl rand -base64 32 > FILE"


class SealError(Exception):
    """The master key is missing, unusable or another one; the text says what to do (status 2)."""


class Keyring:
    """The master keys of this relay. The first seals; all of them open. Without any, secrets stay plain."""

    def __init__(self, keys: Sequence[bytes] = (), source: Path | None = None) -> None:
        """``keys`` of 32 bytes each; ``source`` is the file that they come from, for error texts."""
        self._keys = {_key_id(key): key for key in keys}
        self._first = next(iter(self._keys), "")
        self._source = source

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self._keys)})"

    @property
    def id(self) -> str:
        """Eight characters that name the key which seals now; empty without one. Not secret."""
        return self._first

    def seal(self, purpose: str, secret: bytes) -> bytes:
        """``secret``, sealed for ``purpose``; unchanged where there is no master key."""
        if not self._first:
            return secret
        nonce = secrets.token_bytes(_NONCE_BYTES)
        data = nonce + self._cipher(self._first, purpose).encrypt(nonce, secret, _bound(self._first, purpose))
        return PREFIX + self._first.encode() + b"." + base64.urlsafe_b64encode(data)

    def open(self, purpose: str, kept: bytes) -> bytes:
        """What :meth:`seal` was given. Something plain is returned as it is. Raises SealError."""
        if not kept.startswith(PREFIX):
            return kept
        name, _, text = kept.strip().removeprefix(PREFIX).partition(b".")
        key_id = name.decode("ascii", "replace")
        if key_id not in self._keys:
            raise SealError(self._unopenable(key_id))
        try:
            data = base64.b64decode(text, altchars=b"-_", validate=True)
            nonce, ciphertext = data[:_NONCE_BYTES], data[_NONCE_BYTES:]
            return self._cipher(key_id, purpose).decrypt(nonce, ciphertext, _bound(key_id, purpose))
        except (binascii.Error, ValueError, InvalidTag):
            raise SealError(
                f"A secret of the relay ({purpose}) is damaged, or was sealed for something else. "
                "Restore state_dir from a backup."
            ) from None

    def fresh(self, kept: bytes) -> bool:
        """Whether ``kept`` is as :meth:`seal` would leave it: if not, it is to be sealed again."""
        if not self._first:
            return not kept.startswith(PREFIX)
        return kept.startswith(PREFIX + self._first.encode() + b".")

    def passwords(self, purpose: str) -> tuple[bytes | None, ...]:
        """For files whose format has an encryption of its own: the one to write with, then those of before.

        None stands for none.
        """
        info = b"password\0" + purpose.encode()
        return (*(base64.b64encode(_derived(key, info)) for key in self._keys.values()), None)

    def _cipher(self, key_id: str, purpose: str) -> AESGCM:
        return AESGCM(_derived(self._keys[key_id], b"seal\0" + purpose.encode()))

    def _unopenable(self, key_id: str) -> str:
        shown = key_id if key_id.isalnum() and len(key_id) <= 16 else "?"
        if not self._keys:
            return (
                f"A secret of the relay is sealed with the master key {shown}, and master_key_file is not "
                "set. Set it to the file with that key."
            )
        have = ", ".join(self._keys)
        return (
            f"A secret of the relay is sealed with the master key {shown}; "
            f"{self._source or 'master_key_file'} holds {have}. Add the missing one to it, as a further line."
        )


PLAIN: Final = Keyring()
"""No master key."""


def read(path: Path | None, state_dir: Path) -> Keyring:
    """The master keys in ``path``, or none where it is None. Raises SealError.

    The file holds 32 random bytes as base64 or hexadecimal, or raw. Further lines are older keys, which open
    what they have sealed until it is sealed again. Keys beside what they seal would protect nothing: a file
    in ``state_dir`` is refused.
    """
    if path is None:
        return PLAIN
    name = f"master_key_file ({path})"
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise SealError(f"{name} cannot be read: {error.strerror}. Run as the relay's user. {_HOW}") from None
    if mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        raise SealError(
            f"{name} can be read or written by others (mode {stat.S_IMODE(mode):04o}). Run: chmod 640 {path}"
        )
    if path.resolve().is_relative_to(state_dir.resolve()):
        raise SealError(
            f"{name} is inside state_dir, beside what it seals, so that a copy of the folder would hold "
            "both. Move it elsewhere."
        )
    return Keyring(_keys(data, name), path)


def keep(path: Path, purpose: str, keyring: Keyring, make: Callable[[], bytes]) -> bytes:
    """The secret in the file ``path``, made by whoever needs it first. Raises OSError, SealError.

    It is sealed again where it is plain, or sealed by an older master key.
    """
    files.create(path, keyring.seal(purpose, make()))
    kept = path.read_bytes()
    secret = keyring.open(purpose, kept)
    if not keyring.fresh(kept):
        files.replace(path, keyring.seal(purpose, secret))
    return secret


def _keys(data: bytes, name: str) -> list[bytes]:
    if len(data) > _MAX_FILE:
        raise SealError(f"{name} is too long to be a master key. {_HOW}")
    if len(data) == KEY_BYTES and not all(0x20 <= byte < 0x7F for byte in data):
        keys = [data]
    else:
        keys = [_key(line, name) for line in data.split()]
    if not keys:
        raise SealError(f"{name} is empty. {_HOW}")
    if len(keys) > MAX_KEYS:
        raise SealError(f"{name} holds more than {MAX_KEYS} keys. Remove the oldest, at its end.")
    for key in keys:
        if len(set(key)) < LEAST_DISTINCT:
            raise SealError(f"{name} holds a key that is not random. {_HOW}")
    return keys


def _key(line: bytes, name: str) -> bytes:
    try:
        key = (
            bytes.fromhex(line.decode())
            if len(line) == 2 * KEY_BYTES
            else base64.b64decode(line, validate=True)
        )
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:
        raise SealError(
            f"{name} does not hold 32 random bytes as base64 or hexadecimal, one key a line. "
            f"A passphrase is not accepted. {_HOW}"
        )
    return key


def _bound(key_id: str, purpose: str) -> bytes:
    return PREFIX + key_id.encode() + b"." + purpose.encode()


def _derived(key: bytes, info: bytes) -> bytes:
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=b"penstock master key 1\0" + info).derive(key)


def _key_id(key: bytes) -> str:
    return _derived(key, b"id")[:4].hex()
