"""What the relay remembers of its authorities: one document, so that it changes as a whole or not at all."""

from dataclasses import dataclass, replace
from typing import Annotated, Final

import msgspec
from cryptography import x509

from penstock.tls import spki_pin
from penstock_relay.ca.certificates import pem, same_key
from penstock_relay.ca.keys import CaError
from penstock_relay.ca.rotation import Phase, Progress

VERSION: Final = 1
MAX_ANCHORS: Final = 5
"""Anchors at the same time. A rotation of our own has two; files may change again before the last change is
over, and then the oldest of too many goes."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A CA that is trusted."""

    certificate: x509.Certificate
    key: str | None
    """The private key as `keys.seal` keeps it; None when it is in a file of the operator's."""
    added_at: float
    signs_since: float | None = None
    """When it began to sign agents' certificates; None as long as it does not."""
    vouched: x509.Certificate | None = None
    """Name and key of this one, signed by the one before it."""

    @property
    def pin(self) -> bytes:
        return spki_pin(self.certificate)


@dataclass(frozen=True, slots=True)
class Record:
    """All anchors, newest first, and the phase that they are in."""

    phase: Phase
    since: float
    anchors: tuple[Anchor, ...]

    @property
    def current(self) -> Anchor:
        """The newest: the one that stays."""
        return self.anchors[0]

    @property
    def progress(self) -> Progress:
        """What `rotation` looks at."""
        signs_since = self.current.signs_since
        return Progress(
            self.phase,
            self.since,
            self.current.added_at if signs_since is None else signs_since,
            self.current.vouched is not None,
            max((each.certificate.not_valid_after_utc.timestamp() for each in self.anchors[1:]), default=0),
        )


def first(anchor: Anchor) -> Record:
    """The record of a relay that has one CA and never had another."""
    return Record(Phase.STEADY, anchor.added_at, (replace(anchor, signs_since=anchor.added_at),))


def announced(record: Record, anchor: Anchor, now: float) -> Record:
    """``anchor`` is the newest from now on, and everything else stays as it is for the time being."""
    others = [other for other in record.anchors if not same_key(other.certificate, anchor.certificate)]
    return Record(Phase.ANNOUNCED, now, (anchor, *others)[:MAX_ANCHORS])


def signing(record: Record, now: float) -> Record:
    """The newest anchor signs everything."""
    current = record.current
    begun = now if current.signs_since is None else current.signs_since
    return Record(Phase.SIGNING, now, (replace(current, signs_since=begun), *record.anchors[1:]))


def retired(record: Record, now: float) -> Record:
    """Only the newest anchor is left."""
    return Record(Phase.STEADY, now, (replace(record.current, vouched=None),))


def renewed(record: Record, certificate: x509.Certificate) -> Record:
    """The newest anchor has another certificate for the same key: nobody needs to notice."""
    return replace(record, anchors=(replace(record.current, certificate=certificate), *record.anchors[1:]))


class _Anchor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    certificate: str
    added_at: float
    key: str | None = None
    signs_since: float | None = None
    vouched: str | None = None


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    phase: Phase
    since: float
    anchors: Annotated[list[_Anchor], msgspec.Meta(min_length=1, max_length=MAX_ANCHORS)]


class _AnyVersion(msgspec.Struct, frozen=True):
    version: int


_decoder = msgspec.json.Decoder(_Document)


def dump(record: Record) -> bytes:
    """As JSON."""
    anchors = [
        _Anchor(
            certificate=pem(anchor.certificate).decode(),
            added_at=anchor.added_at,
            key=anchor.key,
            signs_since=anchor.signs_since,
            vouched=None if anchor.vouched is None else pem(anchor.vouched).decode(),
        )
        for anchor in record.anchors
    ]
    document = _Document(version=VERSION, phase=record.phase, since=record.since, anchors=anchors)
    return msgspec.json.format(msgspec.json.encode(document)) + b"\n"


def parse(data: bytes, name: str) -> Record:
    """What :func:`dump` wrote; ``name`` is what error texts call it. Raises CaError."""
    damaged = CaError(f"{name} is damaged. Restore it from a backup.")
    try:
        version = msgspec.json.decode(data, type=_AnyVersion).version
        if version > VERSION:
            raise CaError(f"{name} was written by a newer version of Penstock. Run that version.")
        document = _decoder.decode(data)
        anchors = tuple(
            Anchor(
                x509.load_pem_x509_certificate(anchor.certificate.encode()),
                anchor.key,
                anchor.added_at,
                anchor.signs_since,
                None if anchor.vouched is None else x509.load_pem_x509_certificate(anchor.vouched.encode()),
            )
            for anchor in document.anchors
        )
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise damaged from None
    if (document.phase is Phase.STEADY) != (len(anchors) == 1):
        raise damaged
    if any(
        same_key(one.certificate, other.certificate)
        for one in anchors
        for other in anchors
        if one is not other
    ):
        raise damaged
    return Record(document.phase, document.since, anchors)
