"""Values of the vectors as JSON. README.md says how they are written."""

from __future__ import annotations

from dataclasses import fields
from enum import IntEnum
from itertools import groupby
from typing import TypeAlias

from penstock.tunnel.fields import Key
from penstock.tunnel.frames import Frame

Json: TypeAlias = "None | bool | int | str | list[Json] | dict[str, Json]"

LONG = 64
"""Runs of one byte that are at least so long are written as a rule."""
U64 = frozenset({"epoch", "seq", "offset", "have", "limit", "token", "answer_budget", "n", "at_ms"})


def packed(data: bytes) -> Json:
    """Hex, or a list of hex and {"repeat": hex, "times": n} where that is shorter."""
    parts: list[Json] = []
    plain = b""
    for _, group in groupby(data):
        run = bytes(group)
        if len(run) < LONG:
            plain += run
            continue
        if plain:
            parts.append(plain.hex())
            plain = b""
        parts.append({"repeat": run[:1].hex(), "times": len(run)})
    if not parts:
        return plain.hex()
    if plain:
        parts.append(plain.hex())
    return parts


def text(value: str) -> Json:
    if len(value) >= LONG and len(set(value)) == 1:
        return {"repeat": value[0], "times": len(value)}
    return value


def plain(name: str, value: object) -> Json:
    if isinstance(value, Key):
        return {"boot": value.boot.hex(), "seq": str(value.seq)}
    if isinstance(value, bool):
        return value
    if isinstance(value, IntEnum):
        return value.name.lower()
    if isinstance(value, int):
        return str(value) if name in U64 else value
    if isinstance(value, bytes):
        return packed(value)
    if isinstance(value, str):
        return text(value)
    assert isinstance(value, tuple)
    return [plain("", v) for v in value]


def described(frame: Frame) -> dict[str, Json]:
    return {f.name: plain(f.name, getattr(frame, f.name)) for f in fields(frame)}
