"""The relay's private certificate authority: it vouches for agents, and for the tunnel listener.

Nothing else trusts it, and agents trust nothing else: a join string pins its key. It follows what other
processes do with its record, and files that somebody else renews, when it is asked to look.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from penstock import revocation
from penstock.names import AgentId
from penstock.tls import spki_pin
from penstock_relay import files
from penstock_relay.ca import certificates, keys, record, tunnel
from penstock_relay.ca.certificates import AGENT_VALIDITY, TUNNEL_VALIDITY, BadCsr, SigningKey
from penstock_relay.ca.keeping import Keeping, Step
from penstock_relay.ca.keys import CaError, Orphaned
from penstock_relay.ca.record import Anchor, Record
from penstock_relay.ca.rotation import NEXT, Phase
from penstock_relay.ca.source import Source
from penstock_relay.ca.tunnel import TunnelFiles
from penstock_relay.sealed import PLAIN, Keyring

TUNNEL_NAME: Final = "tunnel.pem"
PATIENCE_S: Final = 10.0
"""How long a command waits for another process that changes the CA; an event loop does not wait at all."""
_TUNNEL_KEY: Final = "tunnel key"


@dataclass(frozen=True, slots=True)
class _Now:
    """What the authority is at a moment; exchanged as a whole."""

    record: Record
    source_key: SigningKey | None = field(repr=False)
    certificate: x509.Certificate
    """Of the anchor that signs agents' certificates, with its key."""
    key: SigningKey | None = field(repr=False)
    """None when it is gone with the operator's file."""


class CertificateAuthority:
    """Make one with :meth:`open`. What it says stays the same until :meth:`refresh` or a step."""

    def __init__(self, state_dir: Path, keyring: Keyring, source: Source | None, orphaned: bool) -> None:
        self._state_dir = state_dir
        self._keyring = keyring
        self._orphaned = orphaned
        self._keeping = Keeping(state_dir, keyring, source)

    @classmethod
    def open(
        cls,
        state_dir: Path,
        now: float,
        keyring: Keyring = PLAIN,
        source: Source | None = None,
        *,
        orphaned: bool = False,
    ) -> Self:
        """The authority of ``state_dir``, made if there is none yet. Raises CaError, SealError.

        Safe when several commands come first at once: one key wins, and all of them use it. Keys that are
        plain, or sealed by an older master key, are sealed again. ``source``: the CA comes from there.
        ``orphaned``: also when it came from files that nothing names any more; all it can do then is rotate.
        """
        authority = cls(state_dir, keyring, source, orphaned)
        authority._change(_as_it_is, now, PATIENCE_S)
        return authority

    def refresh(self, now: float) -> bool:
        """Looks whether record or source have changed, and follows. True when they have.

        Cheap where they have not, and it never blocks. Raises CaError (Busy: look again), SealError;
        everything stays as it was then.
        """
        with self._words():
            if not self._keeping.changed():
                return False
        before = self.record
        self._change(_as_it_is, now, patience=0)
        return self.record != before

    def announce(self, now: float, patience: float = PATIENCE_S) -> None:
        """Makes a new CA and begins a rotation. Raises CaError when one is under way."""

        def step(found: Record) -> Record:
            if found.phase is not Phase.STEADY:
                raise CaError("A rotation is under way already. See: penstock-relay ca show")
            return self._keeping.announced(found, now)

        self._change(step, now, patience)

    def advance(self, phase: Phase, now: float, patience: float = PATIENCE_S) -> None:
        """Takes the step out of ``phase``; nothing where somebody else has taken it. Raises CaError.

        Whether it may be taken is for `rotation.waiting` to say. The first step is :meth:`announce`.
        """

        def step(found: Record) -> Record:
            if found.phase is not phase:
                return found
            return record.signing(found, now) if NEXT[phase] is Phase.SIGNING else record.retired(found, now)

        if phase is Phase.STEADY:
            raise ValueError(phase)
        self._change(step, now, patience)

    @property
    def record(self) -> Record:
        """Anchors and phase, as of the last look."""
        return self._now.record

    @property
    def certificate(self) -> x509.Certificate:
        """Of the anchor that signs agents' certificates now."""
        return self._now.certificate

    @property
    def pem(self) -> bytes:
        """The bundle: every anchor that an agent must trust, the newest first."""
        return certificates.pem(*(anchor.certificate for anchor in self.record.anchors))

    @property
    def introduction(self) -> bytes:
        """What ``GET /ca`` hands out: the bundle, and what leads join strings of the old anchor to it."""
        vouched = self.record.current.vouched
        return self.pem if vouched is None else self.pem + certificates.pem(vouched)

    @property
    def pin(self) -> bytes:
        """SHA-256 of a public key (SPKI), 32 bytes: what a join string carries. Raises CaError.

        Of the anchor that the tunnel listener shows a certificate of: a new agent trusts that one alone.
        """
        anchors = self.record.anchors
        if self.record.phase is not Phase.ANNOUNCED:
            return self.record.current.pin
        with self._words():
            shown = self._shown()
        for anchor in anchors:
            if shown is not None and shown.of(anchor.certificate):
                return anchor.pin
        return spki_pin(self._tunnel_signer()[0])

    def sign_agent(self, csr: x509.CertificateSigningRequest, agent: AgentId, now: float) -> x509.Certificate:
        """A client certificate for ``agent`` with the key of ``csr`` and nothing else of it.

        ``csr`` comes from :func:`~penstock_relay.ca.certificates.parse_csr`, which has checked it.
        """
        key = csr.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise BadCsr("The certificate request's key is not a P-256 key.")
        return self._sign(
            key,
            "Penstock agent",
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(agent.uri)]),
            ExtendedKeyUsageOID.CLIENT_AUTH,
            now,
            AGENT_VALIDITY,
        )

    def vouches(self, certificate: x509.Certificate) -> bool:
        """Whether an anchor that is trusted issued ``certificate``, whatever its dates."""
        return any(certificates.issued(certificate, anchor.certificate) for anchor in self.record.anchors)

    def revocation(self, serial: int, at: float, now: float, *, replaced: bool) -> str:
        """The statement (PEM) that certificate ``serial`` was revoked ``at`` that time. Raises CaError."""
        return revocation.make(serial, at, replaced=replaced, issuer=self.certificate, key=self._key, now=now)

    def tunnel_files(self, host: str, now: float) -> TunnelFiles:
        """The tunnel listener's files: a certificate for ``host`` with at least a third of its life left.

        Called at every start, and now and then while the relay runs. Raises CaError.
        """
        path = self._state_dir / TUNNEL_NAME
        names = certificates.server_names(host)
        password = self._keyring.passwords(_TUNNEL_KEY)[0]
        try:
            shown = self._shown()
            if shown is None or not shown.names(names) or not self._may_stay(shown, now):
                issuer, issuer_key = self._tunnel_signer()
                _check_time(issuer, now)
                key = keys.new()
                certificate = certificates.leaf(
                    issuer, issuer_key, key.public_key(), "Penstock relay", names,
                    ExtendedKeyUsageOID.SERVER_AUTH, now, TUNNEL_VALIDITY,
                )  # fmt: skip
                files.replace(path, keys.private_pem(key, password) + certificates.pem(certificate))
            elif shown.password != password:
                pem = keys.private_pem(shown.key, password) + certificates.pem(shown.certificate)
                files.replace(path, pem)
        except OSError as error:
            raise CaError(f"Cannot write {path}: {error.strerror}. Run as the relay's user.") from None
        return TunnelFiles(chain=path, key=path, ca=self._keeping.bundle, password=password)

    @property
    def comes_from(self) -> str:
        """The file that the CA comes from; empty for one of the relay's own."""
        return self._keeping.comes_from

    @property
    def orphaned(self) -> bool:
        """Whether it came from files that nothing names any more, and cannot sign."""
        return self._now.key is None

    def role(self, anchor: Anchor) -> str:
        """What ``anchor`` does in this phase, in a word or two."""
        if anchor.certificate == self.certificate:
            return "signs"
        return "announced" if anchor is self.record.current else "trusted"

    def key_kept(self, anchor: Anchor) -> str:
        """Where the private key of ``anchor`` is, in a word or two."""
        return self._keeping.described(anchor, current=anchor is self.record.current)

    def shows_stranger(self) -> bool:
        """Whether the tunnel's file holds a certificate of a CA that this record does not know.

        The record may have been restored from before a rotation.
        """
        try:
            shown = self._shown()
        except OSError:
            return False
        return shown is not None and not self.vouches(shown.certificate)

    def _may_stay(self, shown: tunnel.Shown, now: float) -> bool:
        if self.record.phase is not Phase.ANNOUNCED:
            return shown.of(self.record.current.certificate) and shown.part_left(now) >= 1 / 3
        olds = self.record.anchors[1:]
        if not any(shown.of(old.certificate) for old in olds):
            return False
        # Where the old key is gone with the operator's file, only this certificate is known to all agents.
        replaceable = any(old.key is not None for old in olds)
        return shown.part_left(now) >= 1 / 3 if replaceable else shown.part_left(now) > 0

    def _shown(self) -> tunnel.Shown | None:
        return tunnel.read(self._state_dir / TUNNEL_NAME, self._keyring.passwords(_TUNNEL_KEY))

    def _tunnel_signer(self) -> tuple[x509.Certificate, SigningKey]:
        """Who signs a tunnel certificate that is made now."""
        if self.record.phase is Phase.ANNOUNCED:
            for old in self.record.anchors[1:]:
                if old.key is not None:
                    return old.certificate, self._keeping.key_of(old, None)
        current = self.record.current
        return current.certificate, self._keeping.key_of(current, self._now.source_key)

    def _sign(
        self,
        key: ec.EllipticCurvePublicKey,
        subject: str,
        names: x509.SubjectAlternativeName,
        usage: x509.ObjectIdentifier,
        now: float,
        validity: timedelta,
    ) -> x509.Certificate:
        signer = self._now
        _check_time(signer.certificate, now)
        signer_key = signer.key or self._keeping.key_of(signer.record.current, signer.source_key)
        return certificates.leaf(signer.certificate, signer_key, key, subject, names, usage, now, validity)

    @property
    def _key(self) -> SigningKey:
        return self._now.key or self._keeping.key_of(self.record.current, None)

    def _change(self, step: Step, now: float, patience: float) -> None:
        with self._words():
            kept = self._keeping.change(step, now, patience)
        found = kept.record
        signer = next((anchor for anchor in found.anchors if anchor.signs_since is not None), found.current)
        key: SigningKey | None = None
        try:
            key = self._keeping.key_of(signer, kept.source_key)
        except Orphaned:
            if not self._orphaned:
                raise
        self._now = _Now(found, kept.source_key, signer.certificate, key)

    @contextmanager
    def _words(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CaError(
                f"Cannot use the certificate authority in {self._state_dir}: {error.strerror}. Run as the "
                "relay's user, or set state_dir to a folder that this user may write."
            ) from None


def _check_time(signer: x509.Certificate, now: float) -> None:
    if signer.not_valid_after_utc.timestamp() <= now:
        raise CaError(
            f"The relay's CA has expired on {signer.not_valid_after_utc:%Y-%m-%d}: it cannot sign. Check "
            "this machine's clock, then see: penstock-relay ca show"
        )


def _as_it_is(found: Record) -> Record:
    return found
