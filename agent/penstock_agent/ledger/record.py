"""Records: what is said, as lines of a file, each bound to all lines before it. Pure.

A line is ``{"n":7,"at":"…","kind":"…",…,"h":"…"}``: ``h`` is SHA-256, in hex, over the previous record's hash
(32 bytes; zeros before the first record) and the bytes of the line before ``,"h":``. A caller is written once
per segment, as a record of the kind ``who``, and named by its number from then on.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from operator import attrgetter
from typing import Final

import msgspec

from penstock.principal import Principal
from penstock_agent.ledger.entries import Decision, Entry, Event, Masked, Opened, Sent, Unsent

FORMAT: Final = 1
BEFORE_ALL: Final = bytes(32)
"""The hash before the first record."""
MAX_TEXT: Final = 1024
"""Characters of each thing that is said of a caller: who can invent callers shall not fill the ledger."""
MAX_GROUPS: Final = 32
SEAL_BYTES: Final = len(b',"h":"') + 64 + len(b'"}')


class Plain:
    """How one kind of entry is written: its fields, with the caller's number in the place of the caller."""

    def __init__(self, entry: type[msgspec.Struct]) -> None:
        fields = msgspec.structs.fields(entry)
        self._get = attrgetter(*(f.name for f in fields))
        self._who = next((i for i, f in enumerate(fields) if f.name == "who"), -1)
        self._shape = msgspec.defstruct(
            entry.__name__,
            [
                (f.name, int if f.name == "who" else f.type)
                if f.required
                else (f.name, f.type, _default(f.default, f.default_factory))
                for f in fields
            ],
            tag=entry.__struct_config__.tag,
            tag_field="kind",
            omit_defaults=True,
        )
        self._encode = msgspec.json.Encoder().encode

    def fields(self, entry: Entry, who: int) -> bytes:
        values = self._get(entry)
        if (at := self._who) >= 0:
            values = (*values[:at], who, *values[at + 1 :])
        return self._encode(self._shape(*values))[1:-1]


def _default(value: object, factory: object) -> object:
    return msgspec.field(default_factory=factory) if value is msgspec.NODEFAULT else value  # type: ignore[call-overload]  # a field has one of the two


_PLAIN: Final = {kind: Plain(kind) for kind in (Decision, Opened, Sent, Unsent, Masked, Event)}


def fields(entry: Entry, who: int) -> bytes:
    """The members of an entry's record. ``who``: the number of its caller; ignored where it has none."""
    return _PLAIN[type(entry)].fields(entry, who)


def introduction(who: int, caller: Principal) -> bytes:
    """The members of the record that says who is meant by a number."""
    said: dict[str, object] = {"kind": "who", "who": who}
    for name in ("issuer", "subject", "name", "email", "client"):
        if value := getattr(caller, name):
            said[name] = value[:MAX_TEXT]
    if caller.groups:
        said["groups"] = [group[:MAX_TEXT] for group in caller.groups[:MAX_GROUPS]]
    if (more := len(caller.groups) - MAX_GROUPS) > 0:
        said["more_groups"] = more
    return members(said)


def members(said: Mapping[str, object]) -> bytes:
    """The members of any other record."""
    return msgspec.json.encode(said)[1:-1]


def seal(previous: bytes, n: int, at: float, fields: bytes) -> tuple[bytes, bytes]:
    """The hash of a record, and its line. ``previous``: the hash of the record before; ``at``: seconds since
    1970.
    """
    body = b'{"n":%d,"at":"%b",%b' % (n, moment(at), fields)
    digest = sha256(previous + body)
    return digest.digest(), b'%b,"h":"%b"}\n' % (body, digest.hexdigest().encode())


def moment(at: float) -> bytes:
    """RFC 3339 in UTC with microseconds."""
    second = int(at)
    return b"%b.%06dZ" % (_second(second), int((at - second) * 1_000_000))


@lru_cache(maxsize=4)
def _second(second: int) -> bytes:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


def text(data: bytes) -> str:
    """Bytes as base64url, without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
