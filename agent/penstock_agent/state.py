"""The state folder: this agent's key, its certificate, the relay's CA, and which relay and site they are for.

``agent.json`` is written last: a folder without it is a folder that has not joined, whatever else lies there.
Key and certificate are one file, ``identity.pem``, because they can only change together. (A folder of an
earlier version has ``key.pem`` and ``cert.pem``; the first renewal replaces them.)
"""

from __future__ import annotations

import fcntl
import os
import pwd
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from penstock import fingerprint
from penstock.names import AgentId, BadName
from penstock_agent.files import write_atomic
from penstock_agent.problem import Exit, Problem

SERVICE_USER = "penstock-agent"
IDENTITY_NAME = "identity.pem"
CA_NAME = "ca.pem"
_OLD_KEY, _OLD_CERTIFICATE = "key.pem", "cert.pem"
_MAX_FILE = 256 * 1024


class StateError(Problem):
    """The state folder cannot be used; the sentence says what to do about it."""

    status = Exit.USAGE


class NotJoined(StateError):
    """This agent has no identity yet."""


class _AgentFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    relay_url: str
    site: str
    agent: str
    instance: str


@dataclass(frozen=True, slots=True)
class Credentials:
    """What enrolment yields: PEM of the key (unencrypted PKCS #8), of the certificate chain and of the CAs.

    ``approval``: whether somebody at the relay must approve this agent first; not stored.
    """

    relay_url: str
    id: AgentId
    key: bytes
    certificate: bytes
    ca: bytes
    approval: bool = False

    def __repr__(self) -> str:
        return f"Credentials({self.id.uri})"


@dataclass(frozen=True, slots=True)
class Joined:
    """The identity of this agent, as the state folder holds it."""

    folder: Path
    #: ``wss://host:port`` of the relay's tunnel listener.
    relay_url: str
    id: AgentId
    #: 16 random bytes as hex, made once per enrolment: tells a restored copy from the original.
    instance: str
    certificate: x509.Certificate
    #: Every CA that may vouch for the relay: more than one while the relay changes its CA.
    anchors: tuple[x509.Certificate, ...]
    key_file: Path
    certificate_file: Path

    @property
    def ca_file(self) -> Path:
        return self.folder / CA_NAME

    @property
    def expires(self) -> datetime:
        """When the certificate ends (UTC)."""
        return self.certificate.not_valid_after_utc

    @property
    def fingerprint(self) -> str:
        """Of this agent's public key, as people compare it."""
        return fingerprint.dump(fingerprint.of_key(self.certificate.public_key()))

    def key(self) -> ec.EllipticCurvePrivateKey:
        """The private key. Raises :exc:`StateError`."""
        try:
            key = serialization.load_pem_private_key(_required(self.key_file), None)
        except (ValueError, TypeError):
            key = None
        if (
            not isinstance(key, ec.EllipticCurvePrivateKey)
            or key.public_key() != self.certificate.public_key()
        ):
            raise StateError(
                f"{self.key_file} does not hold the key of the certificate. "
                "Restore it from a backup, or join again."
            )
        return key


def service_user() -> tuple[int, int] | None:
    """(uid, gid) of the service user, None when this machine has none."""
    try:
        entry = pwd.getpwnam(SERVICE_USER)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid


def load(folder: Path) -> Joined:
    """Read the identity. Raises :exc:`NotJoined`, or :exc:`StateError` for a folder that cannot be used."""
    data = _read(folder / "agent.json")
    if data is None:
        raise NotJoined(
            f"This agent has not joined a site yet ({folder} has no agent.json). Get a join string "
            "from the relay (penstock-relay site add NAME) and run: penstock-agent join JOIN_STRING"
        )
    _check_folder(folder)
    key_file, certificate_file = _identity_files(folder)
    _check_key(key_file)
    try:
        file = msgspec.json.decode(data, type=_AgentFile)
        identity = AgentId(file.site, file.agent)
        certificate = x509.load_pem_x509_certificates(_required(certificate_file))[0]
        anchors = tuple(x509.load_pem_x509_certificates(_required(folder / CA_NAME)))
    except (msgspec.DecodeError, BadName, ValueError) as e:
        raise StateError(
            f"{folder} is damaged ({type(e).__name__}). "
            "Restore it from a backup, or remove it and join again."
        ) from None
    return Joined(
        folder, file.relay_url, identity, file.instance, certificate, anchors, key_file, certificate_file
    )


def _identity_files(folder: Path) -> tuple[Path, Path]:
    """Where the key and the certificate are."""
    identity = folder / IDENTITY_NAME
    old = folder / _OLD_KEY
    if old.exists() and not identity.exists():
        return old, folder / _OLD_CERTIFICATE
    return identity, identity


def prepare(folder: Path) -> tuple[int, int] | None:
    """Make the folder (0700) and prove that files can be stored in it, before a one-time secret is spent.

    As root, the folder is handed to the service user when there is one; returns the (uid, gid) that its files
    must get, None for our own. Raises :exc:`StateError`.
    """
    owner = service_user() if os.geteuid() == 0 else None
    probe = folder / f".probe.{secrets.token_hex(8)}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_folder(folder)
        if owner is not None:
            os.chown(folder, *owner, follow_symlinks=False)
        probe.touch(mode=0o600, exist_ok=False)
        probe.unlink()
    except OSError as e:
        raise StateError(
            f"{folder} cannot be written: {e.strerror}. Run the command as root or as the user that runs "
            "the agent, or name another folder with --state-dir."
        ) from None
    return owner


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder against a second ``join`` or ``renew``.

    Raises :exc:`StateError` when somebody else holds it.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateError(
                f"Another penstock-agent join or renew is at work in {folder}. Wait for it to end."
            ) from None
        yield
    finally:
        os.close(fd)


def store(folder: Path, credentials: Credentials, owner: tuple[int, int] | None) -> Joined:
    """Store what enrolment yielded, every file 0600. Raises :exc:`StateError`."""
    file = _AgentFile(
        credentials.relay_url, credentials.id.site, credentials.id.agent, secrets.token_bytes(16).hex()
    )
    content = {
        IDENTITY_NAME: credentials.key + credentials.certificate,
        CA_NAME: credentials.ca,
        "agent.json": msgspec.json.format(msgspec.json.encode(file)) + b"\n",
    }
    try:
        # Joining anew: what there was is given up first, so that no mixture of the two is ever loaded.
        for name in ("agent.json", _OLD_KEY, _OLD_CERTIFICATE):
            (folder / name).unlink(missing_ok=True)
        try:
            for name, data in content.items():
                write_atomic(folder / name, data, 0o600, owner)
        except BaseException:
            for name in content:
                (folder / name).unlink(missing_ok=True)
            raise
    except OSError as e:
        raise StateError(
            f"{folder} cannot be written: {e.strerror}. "
            "The join string is used up: make another one at the relay."
        ) from None
    return load(folder)


def renew(joined: Joined, key: bytes, certificate: bytes, ca: bytes) -> Joined:
    """Put a renewed key and certificate (PEM) in the place of the old ones. Raises :exc:`StateError`.

    After a crash at any point the folder holds one whole pair, the old or the new: ``ca`` is written before,
    and what it holds is good for either. The files keep their owner, whoever runs this.
    """
    folder = joined.folder
    try:
        info = joined.key_file.stat()
        owner = (info.st_uid, info.st_gid)
        write_atomic(joined.ca_file, ca, 0o600, owner)
        write_atomic(folder / IDENTITY_NAME, key + certificate, 0o600, owner)
        for name in (_OLD_KEY, _OLD_CERTIFICATE):
            (folder / name).unlink(missing_ok=True)
    except OSError as e:
        raise StateError(
            f"{folder} cannot be written: {e.strerror}. The old certificate is still in use; "
            "the renewal is tried again."
        ) from None
    return load(folder)


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as f:
            return f.read(_MAX_FILE)
    except FileNotFoundError:
        return None
    except OSError as e:
        raise StateError(
            f"{path} cannot be read: {e.strerror}. "
            "Run the command as root or as the user that runs the agent."
        ) from None


def _required(path: Path) -> bytes:
    data = _read(path)
    if data is None:
        raise StateError(
            f"{path} is missing. Restore it from a backup, or remove {path.parent} and join again."
        )
    return data


def _check_folder(folder: Path) -> None:
    info = folder.stat()
    if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StateError(
            f"{folder} can be written by others (mode {stat.S_IMODE(info.st_mode):04o}): "
            f"they could exchange the agent's identity. Run: chmod go-w {folder}"
        )


def _check_key(path: Path) -> None:
    try:
        info = path.lstat()
    except FileNotFoundError:
        raise StateError(f"{path} is missing. Remove {path.parent} and join again.") from None
    if not stat.S_ISREG(info.st_mode):
        raise StateError(f"{path} is not a regular file. Remove {path.parent} and join again.")
    if info.st_mode & 0o077:
        raise StateError(
            f"{path} can be read by others (mode {stat.S_IMODE(info.st_mode):04o}): "
            "whoever read it can act as this agent. "
            f"Run: chmod 600 {path}, and join again if somebody may have."
        )


CHALLENGE_KEY = "challenge.key"
SESSION_KEY = "session.key"


def challenge_key(state_dir: Path, shared: Path | None) -> bytes:
    """The key of this agent's challenges: ``shared``, or one of its own, made when it is first needed.

    Raises StateError.
    """
    return _secret(shared or state_dir / CHALLENGE_KEY, "challenges", make=shared is None)


def session_key(state_dir: Path) -> bytes:
    """By which this agent knows ids of sessions that it made in an earlier run. Raises StateError."""
    return _secret(state_dir / SESSION_KEY, "sessions", make=True)


def _secret(path: Path, of: str, *, make: bool) -> bytes:
    try:
        if make and not path.exists():
            write_atomic(path, secrets.token_bytes(32), 0o600)
        key = path.read_bytes()
    except OSError as error:
        raise StateError(f"The key of {of} {path} cannot be used: {error.strerror}.") from None
    if len(key) < 32:
        raise StateError(f"The key of {of} {path} is shorter than 32 bytes. Make one: openssl rand 32")
    return key
