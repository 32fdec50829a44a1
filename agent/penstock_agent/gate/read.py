"""How the gate reads what children list: an item that two parsers could name differently has no name.

Callers' messages need none of this: the envelope's parser has refused duplicate keys and look-alikes already.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

import msgspec

from penstock.envelope import Kind, Message, text_member
from penstock.lookalike import fold

MAX_ITEMS: Final = 20_000
"""Items on one page of a list. Each is looked at before anything else of the agent has its turn."""
MAX_COMMAS: Final = 1 << 20
"""On such a page: known at once, and it says how many items and members there may be."""

_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode

_NOT_JSON = (msgspec.MsgspecError, ValueError, RecursionError)


def name_of(raw: bytes, key: str) -> str | None:
    """The string ``key`` of a child's object; None when it has none, or a key twice in one object."""
    try:
        members = _object(raw)
        # A compact object is exactly as long as its distinct members, so anything longer is looked at
        # closely.
        compact = 1 + sum(len(_encode(k)) + len(bytes(v)) + 2 for k, v in members.items())
        if len(raw) != compact:
            json.loads(raw, object_pairs_hook=_distinct, parse_int=str, parse_float=str)
    except _NOT_JSON:
        return None
    return text_member(raw, key)


def items(raw: bytes) -> list[bytes] | None:
    """The items of a child's list, each byte-exact; None for what is no list, and for more than MAX_ITEMS."""
    if raw.count(b",") > MAX_COMMAS:
        return None
    try:
        found = _array(raw)
    except _NOT_JSON:
        return None
    return [bytes(item) for item in found] if len(found) <= MAX_ITEMS else None


def filtered(raw: bytes, member: str, shown: Callable[[bytes], bytes | None]) -> bytes | None:
    """The object ``raw`` with its list ``member`` of what is ``shown`` of each item (None: it is left out),
    other members kept.

    None when there is no such list, or one of more than MAX_ITEMS. What is shown depends on the caller, so
    no cache may give it to others.
    """
    if raw.count(b",") > MAX_COMMAS:
        return None
    try:
        members = _object(raw)
        listed = items(bytes(members[member]))
    except (KeyError, *_NOT_JSON):
        return None
    if listed is None:
        return None
    if "cacheScope" in members:  # 2026-07-28, server/utilities/caching
        members["cacheScope"] = msgspec.Raw(b'"private"')
    kept = b"[" + b",".join(out for item in listed if (out := shown(item)) is not None) + b"]"
    # Always written anew, without look-alikes: a second list in the child's object does not leave with the
    # first.
    parts = [
        _encode(key) + b":" + (kept if key == member else bytes(value))
        for key, value in members.items()
        if key == member or fold(key) != fold(member)
    ]
    return b"{" + b",".join(parts) + b"}"


def texts(raw: bytes, shown: Callable[[str], bool]) -> bytes:
    """The list ``raw`` with the ``shown`` ones of its strings only; empty for what is no list of them."""
    try:
        found = msgspec.json.decode(raw, type=list[str])
    except _NOT_JSON:
        found = []
    return _encode([text for text in found if shown(text)])


def error(message: Message, code: int, text: str) -> Message:
    """An error in the place of the response ``message``."""
    body = _encode({"code": code, "message": text})
    return Message(kind=Kind.ERROR, id=message.id, method=None, params=None, result=None, error=body)


def _distinct(pairs: list[tuple[str, object]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("duplicate key")
