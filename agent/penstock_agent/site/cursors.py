"""Where a list of several servers goes on: which of them have more, and the cursor of each. Pure.

Callers bring cursors back, so nothing in one is believed: it names servers, and text that goes to them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final

import msgspec

MAX_CURSOR: Final = 4096
"""Characters of one server's cursor; its list ends where it gives a longer one."""
MAX_BYTES: Final = 1 << 18
"""Of a whole cursor: what callers bring back."""


class BadCursor(ValueError):
    """Not a cursor that was given out for this list."""


class _Cursor(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    method: str
    left: dict[str, str]


_decode = msgspec.json.Decoder(_Cursor).decode
_encode = msgspec.json.Encoder(order="deterministic").encode


def joined(method: str, left: Mapping[str, str]) -> str | None:
    """The cursor of the list ``method`` for the servers that have more; None when none has."""
    if not left:
        return None
    return base64.urlsafe_b64encode(_encode(_Cursor(method, dict(left)))).rstrip(b"=").decode()


def parse(method: str, cursor: str) -> dict[str, str]:
    """The cursor of each server that has more. Raises :exc:`BadCursor`."""
    if len(cursor) > MAX_BYTES:
        raise BadCursor
    try:
        found = _decode(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError, msgspec.MsgspecError):
        raise BadCursor from None
    if found.method != method or any(len(one) > MAX_CURSOR for one in found.left.values()):
        raise BadCursor
    if joined(method, found.left) != cursor:  # one spelling only, and not an empty one
        raise BadCursor
    return found.left


def usable(cursor: str) -> bool:
    """Whether a server's cursor can be a part of one."""
    return 0 < len(cursor) <= MAX_CURSOR
