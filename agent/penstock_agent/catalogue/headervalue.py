"""How text stands in the headers of MCP (2026-07-28, transports/streamable-http, Value Encoding). Pure."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

_ENCODED: Final = re.compile(r"=\?base64\?(.*)\?=")


def decoded(value: str) -> str | None:
    """The text that a header stands for; None for one that is not encoded as it must be."""
    if not value.isascii() or not value.replace("\t", " ").isprintable():
        return None
    found = _ENCODED.fullmatch(value)
    if found is None:
        return value
    try:
        data = base64.b64decode(found[1], validate=True)
        # Two spellings of one text would be two for whoever compares headers only.
        return data.decode() if base64.b64encode(data).decode() == found[1] else None
    except (binascii.Error, UnicodeDecodeError):
        return None
