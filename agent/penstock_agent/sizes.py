"""Sizes, as people write them in settings and read them on a page. Pure."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {"": 1, "B": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("KMGT", 1)
    for suffix, base in (("B", 1000), ("IB", 1024))
}
_SIZE: Final = re.compile(r"([0-9]{1,12}) ?([A-Za-z]{0,3})", re.ASCII)


def read(value: object) -> object:
    """Bytes, where it is a text such as "50MB" or "4 GiB"; anything else as it is. Raises ValueError."""
    if not isinstance(value, str):
        return value
    found = _SIZE.fullmatch(value)
    if found is None or (unit := _UNITS.get(found[2].upper())) is None:
        raise ValueError('is no size; write a number of bytes, or one with a unit, such as "50MB" or "4 GiB"')
    return int(found[1]) * unit


def shown(count: int) -> str:
    """Bytes, for people."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
