"""The authority that the settings describe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock_relay import sealed
from penstock_relay.ca.authority import CertificateAuthority
from penstock_relay.ca.source import Source

if TYPE_CHECKING:
    from penstock_relay.config import Settings
    from penstock_relay.sealed import Keyring


def open_authority(
    settings: Settings, now: float, keyring: Keyring | None = None, *, orphaned: bool = False
) -> CertificateAuthority:
    """Opened, or made. ``keyring`` is that of ``master_key_file``, if it was read already.

    ``orphaned`` as for :meth:`CertificateAuthority.open`. Raises CaError, SealError.
    """
    if keyring is None:
        keyring = sealed.read(settings.master_key_file, settings.state_dir)
    return CertificateAuthority.open(settings.state_dir, now, keyring, source_of(settings), orphaned=orphaned)


def source_of(settings: Settings) -> Source | None:
    """The files that the CA comes from, if it does."""
    if settings.ca_cert_file is None or settings.ca_key_file is None:
        return None
    return Source(settings.ca_cert_file, settings.ca_key_file)
