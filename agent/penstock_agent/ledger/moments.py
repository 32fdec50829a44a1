"""Moments, as people write and read them. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_AGO: Final = re.compile(r"(\d{1,5}) ?(min|h|d|w)")
_UNITS: Final = {"min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
WRITTEN: Final = "yesterday, today, 7d, 24h, 30min, 2026-11-28, 2026-11-28T14:00 or with a zone"


def parse(text: str, now: float, *, end: bool = False) -> float:
    """Seconds since 1970, as ``now``. Days are those of this machine; ``end``: a day means its end.

    Raises ValueError.
    """
    said = text.strip().lower()
    if (ago := _AGO.fullmatch(said)) is not None:
        return now - int(ago[1]) * _UNITS[ago[2]]
    if said in ("today", "yesterday"):
        today = datetime.fromtimestamp(now).replace(hour=0, minute=0, second=0, microsecond=0)
        return _day(today - timedelta(days=said == "yesterday"), end)
    moment = datetime.fromisoformat(text.strip())
    if len(said) == len("2026-11-28"):
        return _day(moment, end)
    return moment.timestamp()


def _day(midnight: datetime, end: bool) -> float:
    return (midnight + timedelta(days=end)).timestamp()


def local(at: str) -> str:
    """A record's moment in the time of this machine, with its zone."""
    try:
        moment = datetime.fromisoformat(at).astimezone()
    except ValueError:
        return "?"
    return f"{moment:%Y-%m-%d %H:%M:%S %Z}"


def utc(moment: float) -> str:
    """A moment (seconds since 1970) for people."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M} UTC"


def duration(seconds: float) -> str:
    """In the largest unit that it fills."""
    whole = max(0, int(seconds))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if whole >= size:
            return f"{whole // size} {unit}"
    return f"{whole} s"
