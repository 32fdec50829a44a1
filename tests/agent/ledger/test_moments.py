"""Moments, as people write them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest

from penstock_agent.ledger import moments
from penstock_agent.ledger.moments import local, parse

CHATHAM = timezone(timedelta(hours=5, minutes=30))


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "IST-5:30")
        time.tzset()
        yield
    time.tzset()


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=CHATHAM).timestamp()


NOW = at("2026-11-28T14:05:06")


@pytest.mark.parametrize(
    ("text", "begins", "ends"),
    [
        ("today", "2026-11-28T00:00:00", "2026-11-29T00:00:00"),
        ("Yesterday ", "2026-11-27T00:00:00", "2026-11-28T00:00:00"),
        ("2026-11-01", "2026-11-01T00:00:00", "2026-11-02T00:00:00"),
        ("7d", "2026-11-21T14:05:06", "2026-11-21T14:05:06"),
        ("30min", "2026-11-28T13:35:06", "2026-11-28T13:35:06"),
        ("1 h", "2026-11-28T13:05:06", "2026-11-28T13:05:06"),
        ("2w", "2026-11-14T14:05:06", "2026-11-14T14:05:06"),
        ("2026-11-01T10:00", "2026-11-01T10:00:00", "2026-11-01T10:00:00"),
        ("2026-11-01T10:00:00Z", "2026-11-01T15:30:00", "2026-11-01T15:30:00"),
    ],
)
def test_days_have_an_end_and_moments_have_not(text: str, begins: str, ends: str) -> None:
    assert parse(text, NOW) == at(begins)
    assert parse(text, NOW, end=True) == at(ends)


@pytest.mark.parametrize("text", ["", "soon", "7", "7y", "2026-13-01", "-1d", "11/28/2026"])
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text, NOW)


def test_records_are_shown_in_the_time_of_the_machine_with_its_zone() -> None:
    assert local("2026-11-28T08:35:06.123456Z") == "2026-11-28 14:05:06 IST"
    assert local("nonsense") == "?"


@pytest.mark.parametrize(
    ("seconds", "said"), [(-5, "0 s"), (59.9, "59 s"), (60, "1 min"), (7200, "2 h"), (200_000, "2 d")]
)
def test_a_duration_is_told_in_the_largest_unit_that_it_fills(seconds: float, said: str) -> None:
    assert moments.duration(seconds) == said


def test_a_moment_is_told_in_utc() -> None:
    assert moments.utc(1_790_000_000.0) == "2026-09-21 14:13 UTC"
