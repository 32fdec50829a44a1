"""A CA that comes from files: cert-manager, or whoever else keeps the company's certificates."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from cryptography import x509

from penstock_relay.ca.certificates import BadAuthority, SigningKey, check_authority, pem
from penstock_relay.ca.keys import CaError, parse

MAX_PEM_BYTES: Final = 4096
"""Of one certificate: a bundle of several must fit into what agents accept (`enrolment.MAX_PEM`)."""

Stamp: TypeAlias = tuple[tuple[int, int, int, int], ...]
"""Changes whenever one of some files is replaced or written."""


def stamp(*paths: Path) -> Stamp:
    """Of files that may be symbolic links, as Kubernetes mounts have them. Raises OSError."""
    found = [path.stat() for path in paths]
    return tuple((info.st_dev, info.st_ino, info.st_mtime_ns, info.st_size) for info in found)


@dataclass(frozen=True, slots=True)
class Source:
    """Where the CA comes from: a certificate and its private key, both PEM."""

    certificate_file: Path
    key_file: Path

    def stamp(self) -> Stamp:
        """Raises CaError."""
        try:
            return stamp(self.certificate_file, self.key_file)
        except OSError as error:
            raise _unreadable(error) from None

    def load(self, now: float) -> tuple[x509.Certificate, SigningKey]:
        """The CA, checked. Further certificates in the file are ignored: no other is trusted. Raises CaError.

        While the files are being exchanged they may not belong together: look again later.
        """
        try:
            certificates = x509.load_pem_x509_certificates(self.certificate_file.read_bytes())
            key_pem = _private(self.key_file)
        except OSError as error:
            raise _unreadable(error) from None
        except ValueError:
            raise CaError(
                f"ca_cert_file: {self.certificate_file} is not a certificate in PEM. Write it again."
            ) from None
        key = parse(key_pem, f"ca_key_file: {self.key_file}")
        certificate = certificates[0]
        if len(pem(certificate)) > MAX_PEM_BYTES:
            raise CaError(
                f"ca_cert_file: the certificate in {self.certificate_file} is too large for the messages to "
                f"agents (more than {MAX_PEM_BYTES} bytes as PEM). Issue it with fewer extensions."
            )
        if certificate.public_key() != key.public_key():
            raise CaError(
                f"ca_cert_file and ca_key_file do not belong together: the first certificate in "
                f"{self.certificate_file} is not for the key in {self.key_file}."
            )
        try:
            check_authority(certificate, now)
        except BadAuthority as error:
            raise CaError(f"ca_cert_file: {self.certificate_file} cannot be the CA: {error}.") from None
        except ValueError:
            raise CaError(
                f"ca_cert_file: {self.certificate_file} has extensions that cannot be read."
            ) from None
        return certificate, key


def _private(path: Path) -> bytes:
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
            raise CaError(
                f"ca_key_file: {path} can be read or written by others (mode {stat.S_IMODE(mode):04o}). "
                f"Run: chmod 640 {path} (in Kubernetes: defaultMode of the volume)"
            )
        return file.read()


def _unreadable(error: OSError) -> CaError:
    return CaError(
        f"The CA's file {error.filename} cannot be read: {error.strerror}. ca_cert_file and ca_key_file must "
        "name files that the relay's user may read."
    )
