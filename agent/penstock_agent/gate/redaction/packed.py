"""Base64 that is text."""

from __future__ import annotations

import binascii
import codecs
import re
from typing import Final

from penstock_agent.gate.redaction.steps import Steps, TooMuch

BINARY: Final = "binary"
_TEXTUAL: Final = re.compile(
    r"\s*(?:text/|message/|application/(?:[\w.+-]*\+)?(?:json|xml|yaml|toml|javascript|sql|x-pem-file|x-sh|"
    r"x-yaml|x-ndjson|x-www-form-urlencoded|pgp-keys|pkcs8|graphql)\b|image/svg)",
    re.IGNORECASE,
)
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]*+={0,2}")
_PEEK: Final = 4096
_PART: Final = 1 << 18
"""Characters of base64 that are looked at in one step."""


def unpacked(text: str, mime: str, most: int) -> Steps[tuple[str, str] | None]:
    """What a base64 text holds, and how that is coded: ``BINARY`` where it is no text. None where it is no
    base64. Raises :exc:`~penstock_agent.gate.redaction.steps.TooMuch` for what is certainly more than
    ``most`` characters.
    """
    if "\n" in text:
        text = "".join(text.split())
    size = len(text)
    if size % 4:
        return None
    for at in range(0, size, _PART):
        part = _BASE64.fullmatch(text, at, min(size, at + _PART))
        if part is None or (text[part.end() - 1] == "=" and part.end() < size):
            return None
        if size > _PART:
            yield
    coding = _coding(binascii.a2b_base64(text[:_PEEK]), mime, size <= _PEEK)
    if not coding:
        return "", BINARY
    if size // 4 * 3 > 4 * most:  # whatever the coding is
        raise TooMuch
    data = binascii.a2b_base64(text)
    try:
        return data.decode(coding), coding
    except UnicodeError:
        # Good for a while: each byte for itself still shows everything that is ASCII.
        return data.decode("latin-1"), "latin-1"


def _coding(head: bytes, mime: str, whole: bool) -> str:
    """How these bytes are text; empty where they are not."""
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16-le" if head[:2] == codecs.BOM_UTF16_LE else "utf-16-be"
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head, whole)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" not in text:
        return "utf-8"
    return "latin-1" if _TEXTUAL.match(mime) else ""
