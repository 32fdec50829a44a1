"""Secrets that a server's ``env`` names by where they lie: ``file:/path``, or ``cred:NAME`` for a credential
that systemd gave to the agent.

They are read when a child is started, for that child alone, so that a new secret needs no reload. They are
never logged, nor in the text of an error.
"""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 64 * 1024

#: Not a URL: file:///path is a value like any other.
_FILE = re.compile(r"file:(/(?!/).*)", re.DOTALL)
_CREDENTIAL = re.compile(r"cred:([A-Za-z0-9_.-]{1,255})")


class BadReference(ValueError):
    """The secret cannot be read; the text names the variable, the place and the next step."""


def file_of(value: str) -> Path | None:
    """The file that a value of ``env`` names; None when it names none."""
    found = _FILE.fullmatch(value)
    return None if found is None else Path(found[1])


def credential_of(value: str) -> str | None:
    """The credential that a value of ``env`` names; None when it names none."""
    found = _CREDENTIAL.fullmatch(value)
    return None if found is None else found[1]


def resolve(env: Mapping[str, str], agent: Mapping[str, str]) -> dict[str, str]:
    """``env`` with the secrets in it, read from files. ``agent``: its environment. Raises BadReference."""
    return {name: _value(name, value, agent) for name, value in env.items()}


def _value(name: str, value: str, agent: Mapping[str, str]) -> str:
    if (path := file_of(value)) is not None:
        return _read(name, path)
    if (found := _CREDENTIAL.fullmatch(value)) is None:
        return value
    folder = agent.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise BadReference(
            f"{name} in env names the credential {found[1]}, and systemd has given none to the agent. Add "
            f"LoadCredential={found[1]}:/path to its unit, or name a file: file:/path"
        )
    path = Path(folder, found[1])
    if not path.exists():
        raise BadReference(
            f"{name} in env names the credential {found[1]}, which systemd has not given to the agent. Add "
            f"LoadCredential={found[1]}:/path to its unit, and restart it."
        )
    return _read(name, path)


def _read(name: str, path: Path) -> str:
    try:
        # Not to wait for a writer where somebody has put a pipe there.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MAX_BYTES + 1) if stat.S_ISREG(mode) else b""
    except OSError as error:
        raise BadReference(
            f"{name} in env names {path}, which cannot be read: {error.strerror}. It must be a file that the "
            "agent's user may read."
        ) from None
    if not stat.S_ISREG(mode):
        raise BadReference(f"{name} in env names {path}, which is not a regular file.")
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise BadReference(
            f"{name} in env names {path}, which everybody may read or write (mode {stat.S_IMODE(mode):04o}), "
            f"and which holds a secret. Run: chmod o-rwx {path}"
        )
    try:
        text = data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        text = ""
    if not text or len(data) > MAX_BYTES or "\0" in text:
        raise BadReference(
            f"{name} in env names {path}, which must hold text (UTF-8), at most {MAX_BYTES} bytes."
        )
    return text
