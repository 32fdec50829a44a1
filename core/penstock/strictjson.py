"""What JSON parsers disagree on, found in bytes before anybody acts on them. Knows nothing of JSON-RPC."""

import codecs
import json
import re
from itertools import accumulate

import msgspec

STEP_BYTES = 1 << 18
"""Large data is worked on in pieces of this size."""

SMALL = 1 << 14
"""Characters up to which `tree` tries the fast way first; whoever takes both ways for more pays too much."""

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)  # \Z: linear on unterminated strings too
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")

REPLACEMENT = rb"\ufffd"


class DuplicateKey(ValueError):
    """A key stands twice in one object."""


def is_utf8(data: bytes) -> bool:
    """Whether all of `data` is UTF-8, without holding all of it as text (up to four times as big)."""
    if data.isascii():
        return True
    view, at = memoryview(data), 0
    try:
        while at < len(data):
            final = at + STEP_BYTES >= len(data)
            at += codecs.utf_8_decode(view[at : at + STEP_BYTES], "strict", final)[1]
    except UnicodeDecodeError:
        return False
    return True


def exceeds(data: bytes, *, depth: int, keys: int, containers: int) -> str | None:
    """The first limit that `data`, valid JSON, is above, by its name; None when it keeps to all of them.

    `depth` counts arrays and objects inside each other, `containers` all of them, `keys` object members.
    """
    if data.count(b"[") + data.count(b"{") <= min(depth, containers) and data.count(b":") <= keys:
        return None  # counts what stands in strings too: never too little
    skeleton = _STRING.sub(b"", data)
    if skeleton.count(b":") > keys:
        return "keys"
    brackets = skeleton.translate(_STEPS, _NOT_BRACKETS)
    if len(brackets) > 2 * containers:
        return "containers"
    # memoryview reads the bytes as signed: one up, one down.
    return "depth" if max(accumulate(memoryview(brackets).cast("b")), default=0) > depth else None


def tree(text: str) -> object:
    """The value of `text`, valid JSON, but for its numbers: they may be replaced by something small, since
    they are not looked at, and may have any number of digits. Raises DuplicateKey.
    """
    if len(text) <= SMALL:
        value = _as_it_came(text)
        if value is not None:
            return value
    slow: object = _tree.decode(text)
    return slow


def _as_it_came(text: str) -> object | None:
    """The value, where it comes out as it went in: then it has each key once. Most clients write like that,
    and this is a fifth of the time. None for all else, and for null.
    """
    try:
        value: object = _decode(text)
        return value if _encode(value) == text.encode() else None
    except (ValueError, RecursionError):  # a number of thousands of digits is no int either
        return None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise DuplicateKey
    return members


_tree = json.JSONDecoder(object_pairs_hook=_unique, parse_int=len, parse_float=len)
_shallow = json.JSONDecoder(object_pairs_hook=lambda pairs: pairs, parse_int=len, parse_float=len)


def top_level_keys(text: str) -> list[str]:
    """The keys of the outermost object of `text`, valid JSON, as often as they stand there."""
    pairs: list[tuple[str, object]] = _shallow.decode(text)
    return [key for key, _ in pairs]


def without_surrogates(data: bytes) -> bytes:
    """`data` with the escapes of surrogates, paired or not, replaced by U+FFFD: same length, same structure.

    An escaped backslash before "ud800" is hit as well: still the same structure. In steps, so that millions
    of escapes do not become millions of objects at once.
    """
    done, at = bytearray(), 0
    while at < len(data):
        end = at + STEP_BYTES
        if end < len(data) and (cut := data.rfind(b"\\", end - 5, end)) >= 0:
            end = cut  # an escape may straddle the end of the step
        done += _SURROGATE.sub(rb"\\ufffd", data[at:end])
        at = end
    return bytes(done)
