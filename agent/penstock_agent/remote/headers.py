"""The headers that a server of the local network wants from the agent, with secrets that lie in files.

None of them is a caller's: who calls, and with which token, ends at the agent.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_VALUE: Final = 8192
"""Characters of one header's value."""
MAX_HEADERS: Final = 32

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,100}")
#: A value from a file, after a word like "Bearer" or without one.
_FROM_FILE = re.compile(r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9-]{0,30}) )?file:(?P<path>/.*)")
_SECRET_NAME = re.compile(r"auth|token|secret|passw|key|cookie|credential|session", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"(?:bearer|basic|token|digest) ", re.IGNORECASE)

#: These say how a message is framed or what it means, which is not the configuration's to say.
_OURS: Final = frozenset(
    {
        "accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type",
        "expect", "host", "keep-alive", "last-event-id", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade",
    }
)  # fmt: skip


class BadHeader(ValueError):
    """The header cannot be sent; the text is a sentence without its value."""


@dataclass(frozen=True, slots=True)
class Header:
    """One header of ``headers``. ``value`` is what was written in agent.toml: never a secret itself."""

    name: str
    value: str

    @classmethod
    def parse(cls, name: str, value: str) -> Header:
        """Raises :exc:`BadHeader`."""
        if _TOKEN.fullmatch(name) is None:
            raise BadHeader("is not the name of a header")
        if name.lower() in _OURS or name.lower().startswith("mcp-"):
            raise BadHeader("is a header that the agent sets itself; remove it")
        header = cls(name, value)
        if header.file is not None:
            return header
        if value.strip().lower().startswith("file:") or " file:" in value.lower():
            raise BadHeader(
                'names a file in a form that is not understood; write "file:/absolute/path" or '
                '"Bearer file:/absolute/path"'
            )
        if _SECRET_NAME.search(name) or _SECRET_VALUE.match(value):
            raise BadHeader(
                "looks like a secret, and secrets do not belong into this file; put the value into a file "
                'that only the agent may read, and write "file:/absolute/path", or "Bearer '
                'file:/absolute/path" when the file holds only the token'
            )
        _check_value(value)
        return header

    @property
    def file(self) -> Path | None:
        """Where the value lies, None when it stands in agent.toml."""
        found = _FROM_FILE.fullmatch(self.value)
        return None if found is None else Path(found["path"])

    def read(self) -> str:
        """The value to send. Raises :exc:`BadHeader`, which names the file and the next step."""
        found = _FROM_FILE.fullmatch(self.value)
        if found is None:
            return self.value
        text = _read(Path(found["path"]))
        return text if found["scheme"] is None else f"{found['scheme']} {text}"


def read(headers: tuple[Header, ...]) -> dict[str, str]:
    """All of them, as they are to be sent now. Raises :exc:`BadHeader`."""
    return {header.name: header.read() for header in headers}


def _read(path: Path) -> str:
    try:
        with path.open("rb") as f:
            mode = os.fstat(f.fileno()).st_mode
            data = f.read(MAX_VALUE + 2)
    except OSError as e:
        raise BadHeader(
            f"{path} cannot be read: {e.strerror}. It must be a file that the agent's user may read."
        ) from None
    if not stat.S_ISREG(mode):
        raise BadHeader(f"{path} is not a regular file.")
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise BadHeader(
            f"{path} can be read or written by everybody (mode {stat.S_IMODE(mode):04o}), and holds a "
            f"secret. Run: chmod o-rwx {path}"
        )
    try:
        text = data.decode("ascii").rstrip("\r\n")
    except UnicodeDecodeError:
        text = ""
    try:
        _check_value(text)
    except BadHeader:
        text = ""
    if not text:
        raise BadHeader(f"{path} must hold one line of printable ASCII, of at most {MAX_VALUE} characters.")
    return text


def _check_value(text: str) -> None:
    if len(text) > MAX_VALUE or not text.isascii() or not text.isprintable() or text != text.strip():
        raise BadHeader(f"must be printable ASCII without spaces around it, at most {MAX_VALUE} characters")
