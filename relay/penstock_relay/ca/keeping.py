"""The record as it must be now: what lies in the folder, what the operator's files say, what seals keys."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from penstock_relay.ca import certificates, folder, keys, record
from penstock_relay.ca.certificates import SigningKey
from penstock_relay.ca.folder import BUNDLE_NAME, RECORD_NAME, Folder
from penstock_relay.ca.keys import CaError, Orphaned
from penstock_relay.ca.record import Anchor, Record
from penstock_relay.ca.source import Source, Stamp
from penstock_relay.sealed import Keyring

Step: TypeAlias = Callable[[Record], Record]


@dataclass(frozen=True, slots=True)
class Kept:
    """A record, and the key that is not in it, when the CA comes from files."""

    record: Record
    source_key: SigningKey | None

    def __repr__(self) -> str:
        return f"Kept({self.record.phase.value})"


class Keeping:
    """Methods raise CaError, SealError, OSError."""

    def __init__(self, state_dir: Path, keyring: Keyring, source: Source | None) -> None:
        self._folder = Folder(state_dir)
        self._file = state_dir / RECORD_NAME
        self._keyring = keyring
        self._source = source
        self._seen: tuple[Stamp, Stamp] | None = None

    @property
    def bundle(self) -> Path:
        """The file with every anchor."""
        return self._folder.bundle

    @property
    def comes_from(self) -> str:
        """The file of the operator's certificate, if there is one."""
        return "" if self._source is None else str(self._source.certificate_file)

    def changed(self) -> bool:
        """Whether record or source have changed since they were read."""
        return self._stamps() != self._seen

    def change(self, step: Step, now: float, patience: float) -> Kept:
        """Reads the record, lets ``step`` change it, and writes it where it is another one then.

        Nobody else changes it meanwhile; ``patience``: seconds to wait for others. Where ``step`` raises,
        nothing has changed.
        """
        with self._folder.locked(patience):
            kept = self._folder.read(self._keyring)
            # Before they are read: what changes in between is seen the next time.
            source = self._source_stamp()
            found, source_key = self._sourced(kept, now)
            found = self._sealed(step(found))
            if found.current.certificate.not_valid_after_utc.timestamp() <= now:
                raise CaError(
                    f"The CA in {self._file} has expired. Check this machine's clock; if it is right, move "
                    f"{RECORD_NAME} and {BUNDLE_NAME} away, and let every agent join again."
                )
            if found != kept:
                self._folder.write(found)
            self._folder.publish(found)
            self._seen = self._folder.stamp(), source
        return Kept(found, source_key)

    def announced(self, found: Record, now: float) -> Record:
        """The step that begins a rotation, with a new CA of our own."""
        if self._source is not None:
            raise CaError(
                f"The CA comes from {self._source.certificate_file}: give it a new key there, and the relay "
                "follows by itself, through the same phases. Only the steps after that can be taken here."
            )
        new = folder.made(self._keyring, now)
        if found.current.key is None:  # it went with its file, and cannot sign in the meantime
            new = replace(new, signs_since=now)
        return self._follow(found, new, now)

    def key_of(self, anchor: Anchor, source_key: SigningKey | None) -> SigningKey:
        """The private key of ``anchor``. Raises Orphaned."""
        if anchor.key is not None:
            return keys.unseal(anchor.key, anchor.pin, self._keyring)
        if source_key is None:
            raise Orphaned(
                "The relay's CA came from files, and ca_cert_file is not set any more. Set ca_cert_file and "
                "ca_key_file again; or go over to a CA of the relay's own: penstock-relay ca rotate --force"
            )
        return source_key

    def described(self, anchor: Anchor, *, current: bool) -> str:
        """Where the private key of ``anchor`` is, in a word or two."""
        if anchor.key is not None:
            return f"sealed by {self._keyring.id}" if self._keyring.id else "plain"
        return str(self._source.key_file) if current and self._source is not None else "gone"

    def _sourced(self, kept: Record | None, now: float) -> tuple[Record, SigningKey | None]:
        if self._source is None:
            return kept or record.first(folder.made(self._keyring, now)), None
        certificate, key = self._source.load(now)
        anchor = Anchor(certificate, None, now, signs_since=now)
        if kept is None:
            return record.first(anchor), key
        if not certificates.same_key(kept.current.certificate, certificate):
            return self._follow(kept, anchor, now), key
        same = kept if kept.current.certificate == certificate else record.renewed(kept, certificate)
        # A key that the operator has taken out to a file is not kept here as well.
        if same.current.key is not None:
            same = replace(same, anchors=(replace(same.current, key=None), *same.anchors[1:]))
        return same, key

    def _follow(self, found: Record, new: Anchor, now: float) -> Record:
        old = found.current
        if old.key is not None:
            old_key = keys.unseal(old.key, old.pin, self._keyring)
            vouched = certificates.vouching(new.certificate, old.certificate, old_key, now)
            new = replace(new, vouched=vouched)
        return record.announced(found, new, now)

    def _sealed(self, found: Record) -> Record:
        """Every key as the first master key seals it."""
        return replace(found, anchors=tuple(self._sealed_anchor(anchor) for anchor in found.anchors))

    def _sealed_anchor(self, anchor: Anchor) -> Anchor:
        if anchor.key is None:
            return anchor
        key = keys.unseal(anchor.key, anchor.pin, self._keyring)
        if key.public_key() != anchor.certificate.public_key():
            raise CaError(
                f"{self._file} holds a key that does not belong to its certificate. Restore it from a backup."
            )
        if self._keyring.fresh(anchor.key.encode()):
            return anchor
        return replace(anchor, key=keys.seal(key, anchor.pin, self._keyring))

    def _stamps(self) -> tuple[Stamp, Stamp]:
        return self._folder.stamp(), self._source_stamp()

    def _source_stamp(self) -> Stamp:
        return () if self._source is None else self._source.stamp()
