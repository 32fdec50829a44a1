"""The key that signs the ledger's heads: made once, and never anybody else's."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from penstock import ledgerhead
from penstock.ledgerhead import LedgerHead
from penstock_agent.files import write_atomic
from penstock_agent.problem import Exit, Problem

FILE: Final = "ledger.key"


def checks(key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the holder of the key has signed the message."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


class Key:
    """Signs heads."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()

    def sign(self, n: int, hash: bytes, at: float) -> LedgerHead:
        """``at``: seconds since 1970."""
        return ledgerhead.sign(self._private, n, hash, int(at * 1000))


def load(state_dir: Path, *, make: bool) -> Key:
    """The key of this state folder; made when there is none and it may be. Raises Problem."""
    path = state_dir / FILE
    try:
        if make and not path.exists():
            write_atomic(path, Ed25519PrivateKey.generate().private_bytes_raw(), 0o600)
        info = path.lstat()
        data = path.read_bytes()
    except FileNotFoundError:
        raise Problem(
            f"{path} is missing, and what stands in the ledger was signed with it. Restore it from a backup; "
            f"or move the folder {state_dir / 'ledger'} to where it is kept, and a new ledger begins.",
            Exit.USAGE,
        ) from None
    except OSError as error:
        raise Problem(f"The ledger's key {path} cannot be used: {error.strerror}.", Exit.USAGE) from None
    if not stat.S_ISREG(info.st_mode) or len(data) != 32:
        raise Problem(f"{path} is not a key of a ledger. Restore it from a backup.", Exit.USAGE)
    if info.st_mode & 0o077 and info.st_uid in (0, os.geteuid()):
        raise Problem(
            f"{path} can be read by others (mode {stat.S_IMODE(info.st_mode):04o}): whoever read it can sign "
            f"a ledger in this agent's name. Run: chmod 600 {path}",
            Exit.USAGE,
        )
    return Key(Ed25519PrivateKey.from_private_bytes(data))
