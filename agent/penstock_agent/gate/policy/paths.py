"""Whether a path that a caller wrote lies below a folder, as its text says.

What the server's file system makes of it is the server's matter: a symbolic link below the folder may point
anywhere. A text that some program could take for another path is below nothing.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

MAX_PATH: Final = 4096

# Control characters and backslashes, and the percent-encoded forms of dots, slashes, backslashes and control
# characters, however often the percent sign itself is encoded.
_DISGUISED: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\\]|%(?:25)*(?:2e|2f|5c|7f|[01][0-9a-f])|%u", re.IGNORECASE
)


class BadFolder(ValueError):
    """Not a folder that paths can be compared with; the text says why."""


def folder(text: str) -> str:
    """A folder of the configuration, without a slash at its end. Raises :exc:`BadFolder`."""
    if not text.startswith("/"):
        raise BadFolder("is not an absolute path; write one that begins with /")
    found = _plain(text)
    if found is None:
        raise BadFolder("is not a plain path: it holds . or .., a control character, a backslash or the like")
    return found


def below(text: str, base: str) -> bool:
    """Whether ``text`` is the folder ``base`` (see :func:`folder`) or lies in it."""
    found = _plain(text)
    if found is None:
        return False
    return found == base or found.startswith(f"{base}/" if base else "/")


@lru_cache(maxsize=64)  # several rules look at one path
def _plain(text: str) -> str | None:
    """An absolute path without what says nothing: doubled slashes, one at the end. None for any other."""
    if not text.startswith("/") or text.startswith("//") or len(text) > MAX_PATH:
        return None
    if not _is_clear(text):
        return None
    if not text.isascii() and not _is_clear(unicodedata.normalize("NFKC", text), text.count("/")):
        return None  # full-width dots and slashes become plain ones where somebody normalises
    return "".join(f"/{segment}" for segment in text.split("/") if segment)


def _is_clear(text: str, slashes: int | None = None) -> bool:
    if _DISGUISED.search(text) is not None or (slashes is not None and text.count("/") != slashes):
        return False
    # Some programs drop blanks at the ends of a segment, so "..␠" counts as "..".
    return not any(segment.strip() in (".", "..") for segment in text.split("/"))
