"""Where the record lies: ``ca.json`` in the state folder, and beside it ``ca.crt`` for TLS to load.

``ca.json`` alone counts. ``ca.crt`` is made from it: every anchor that agents' certificates may come from.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cryptography import x509

from penstock.tls import spki_pin
from penstock_relay import files
from penstock_relay.ca import keys, record
from penstock_relay.ca.certificates import authority, pem
from penstock_relay.ca.keys import Busy, CaError
from penstock_relay.ca.record import Anchor, Record
from penstock_relay.ca.source import Stamp, stamp
from penstock_relay.sealed import Keyring

RECORD_NAME: Final = "ca.json"
BUNDLE_NAME: Final = "ca.crt"
OLD_KEY_NAME: Final = "ca.key"
"""Where the first version had the key, plain; ``ca.crt`` was the certificate of it."""
RETRY_S: Final = 0.02
"""Between two attempts to get the lock."""


class Folder:
    """Methods raise CaError and OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.bundle = path / BUNDLE_NAME

    @contextmanager
    def locked(self, patience: float) -> Iterator[None]:
        """Alone with the record. Raises Busy when another process holds it for ``patience`` seconds more.

        With 0 it never blocks, as an event loop needs: whoever holds it may have been suspended.
        """
        files.make_folder(self._path)
        descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            deadline = time.monotonic() + patience
            while not _try_lock(descriptor):
                if time.monotonic() >= deadline:
                    raise Busy(
                        f"Another process changes the CA in {self._path} at this moment. Try again; if that "
                        "does not help, look for a penstock-relay command that hangs."
                    )
                time.sleep(RETRY_S)
            yield
        finally:
            os.close(descriptor)

    def stamp(self) -> Stamp:
        """Changes whenever the record does."""
        return stamp(self._path / RECORD_NAME)

    def read(self, keyring: Keyring) -> Record | None:
        """The record, taken over from the first version's files if need be; None where there is no CA yet.

        Hold the lock: it may write.
        """
        path = self._path / RECORD_NAME
        if path.exists():
            found = record.parse(path.read_bytes(), str(path))
            self._finish_taking_over(found)
            return found
        if (self._path / OLD_KEY_NAME).exists():
            found = self._old(keyring)
            self.write(found)
            self._finish_taking_over(found)
            return found
        if self.bundle.exists():
            raise CaError(f"{path} is missing beside {BUNDLE_NAME}. Restore it from a backup.")
        return None

    def write(self, found: Record) -> None:
        """Hold the lock."""
        files.replace(self._path / RECORD_NAME, record.dump(found))
        self.publish(found)

    def publish(self, found: Record) -> None:
        """Makes ``ca.crt`` what the record says; a crash may have come between the two."""
        bundle = pem(*(anchor.certificate for anchor in found.anchors))
        if not self.bundle.exists() or self.bundle.read_bytes() != bundle:
            files.replace(self.bundle, bundle)

    def _old(self, keyring: Keyring) -> Record:
        path = self._path / OLD_KEY_NAME
        key = keys.parse(path.read_bytes(), str(path))
        if not self.bundle.exists():
            raise CaError(
                f"{self.bundle} is missing beside {OLD_KEY_NAME}. Restore both from one backup; if this "
                f"relay never had an agent, remove {path}."
            )
        try:
            certificate = x509.load_pem_x509_certificate(self.bundle.read_bytes())
        except ValueError:
            raise CaError(f"{self.bundle} is not a certificate in PEM. Restore it from a backup.") from None
        if certificate.public_key() != key.public_key():
            raise CaError(f"{self.bundle} does not belong to {path}. Restore both from one backup.")
        began = certificate.not_valid_before_utc.timestamp()
        return record.first(Anchor(certificate, keys.seal(key, spki_pin(certificate), keyring), began))

    def _finish_taking_over(self, found: Record) -> None:
        """Removes the key file of the first version, once the record has the same key."""
        path = self._path / OLD_KEY_NAME
        if not path.exists():
            return
        key = keys.parse(path.read_bytes(), str(path))
        if all(anchor.certificate.public_key() != key.public_key() for anchor in found.anchors):
            raise CaError(
                f"{path} is the key of another CA than the ones in {RECORD_NAME}. If it came with a backup "
                f"of an older version, restore that backup whole, without {RECORD_NAME}; else remove {path}."
            )
        path.unlink()


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def made(keyring: Keyring, now: float) -> Anchor:
    """A new CA of our own."""
    key = keys.new()
    certificate = authority(key, now)
    return Anchor(certificate, keys.seal(key, spki_pin(certificate), keyring), now)
