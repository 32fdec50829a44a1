"""What may be said: closed kinds, closed fields, bounded texts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_relay.audit import ActorKind, Change, Kind, event
from penstock_relay.audit.events import EVERYWHERE, MAX_ALLOWED, MAX_TEXT, MOMENTS, bounded, moment

ROOT = Path(__file__).parents[3]


def test_a_field_that_the_kind_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError, match="SITE_ADDED has no field password, token"):
        event(Kind.SITE_ADDED, site="mill", token="x", password="y")
    assert event(Kind.SITE_ADDED, site="mill", count=2).about() == {"site": "mill", "count": 2}


def test_fields_are_shown_as_words_numbers_moments_and_changes() -> None:
    shown = event(
        Kind.TOKEN_ISSUED, token="abc", name="ci", site="mill", server=None, expires_at=1000.5
    ).about()
    assert shown == {
        "token": "abc", "name": "ci", "site": "mill", "expires_at": "1970-01-01T00:16:40.500Z",
    }  # fmt: skip
    changed = event(Kind.USER_DISABLED, user="alice", state=Change("active", "disabled"), grants=2)
    assert changed.about() == {"user": "alice", "state": {"from": "active", "to": "disabled"}, "grants": 2}
    longer = event(Kind.TOKEN_ISSUED, expires_at=Change(None, 2.0)).about()
    assert longer == {"expires_at": {"from": None, "to": "1970-01-01T00:00:02.000Z"}}


def test_numbers_are_whole() -> None:
    assert event(Kind.CLIENTS_PURGED, count=3.0).about() == {"count": 3}
    assert isinstance(event(Kind.CLIENTS_PURGED, count=3.0).about()["count"], int)


def test_the_order_of_the_fields_makes_no_difference() -> None:
    one = event(Kind.ACCESS_ADDED, user="a", site="b")
    assert one == event(Kind.ACCESS_ADDED, site="b", user="a")
    assert len({one, event(Kind.ACCESS_ADDED, site="b", user="a")}) == 1


@given(st.text(max_size=3 * MAX_TEXT), st.text(max_size=3 * MAX_TEXT))
def test_a_long_text_is_cut_and_still_told_from_another(one: str, two: str) -> None:
    assert len(bounded(one)) <= MAX_TEXT
    assert (bounded(one) == bounded(two)) == (one == two)
    assert len(one) > MAX_TEXT or bounded(one) == one
    alike = "x" * MAX_TEXT
    assert (bounded(alike + one) == bounded(alike + two)) == (one == two)


def test_names_of_tools_have_more_room() -> None:
    shown = event(Kind.GRANT_MADE, allowed="x" * 5000, client="x" * 5000).about()
    assert (len(str(shown["allowed"])), len(str(shown["client"]))) == (MAX_ALLOWED, MAX_TEXT)


def test_a_moment_is_utc_with_milliseconds() -> None:
    assert moment(0) == "1970-01-01T00:00:00.000Z"
    assert moment(1_795_793_004.1239) == "2026-11-27T15:23:24.123Z"


def test_no_field_is_made_for_what_must_never_be_recorded() -> None:
    fields = set[str]().union(*(kind.fields for kind in Kind))
    never = re.compile(
        r"secret|password|code|cookie|argument|result|body|payload|query|header|email|verifier"
    )
    assert not [name for name in fields if never.search(name)]
    assert fields >= EVERYWHERE
    assert fields >= MOMENTS


def test_names_of_kinds_are_those_of_the_enum_and_each_is_used() -> None:
    sources = "".join(
        path.read_text() for path in (ROOT / "relay/penstock_relay").rglob("*.py") if path.name != "events.py"
    )
    for kind in Kind:
        assert kind.text == kind.name.lower()
        assert f"Kind.{kind.name}" in sources, f"{kind.name} is never recorded"


def test_every_kind_and_its_fields_are_documented_and_no_other() -> None:
    chapter = (ROOT / "docs/relay.md").read_text().split("\n## Audit\n")[1].split("\n## ")[0]
    table = chapter.split("\n### What\n")[1].split("\n### ")[0]
    rows = re.findall(r"^\| `([a-z_]+)` \|([^|]*)\|([^|]*)\|$", table, re.MULTILINE)[1:]
    documented = {kind: set(re.findall(r"`([a-z_]+)`", fields)) for kind, fields, _ in rows}
    assert len(rows) == len(documented)
    assert documented == {kind.text: kind.fields - EVERYWHERE for kind in Kind}


def test_every_kind_of_actor_is_documented_and_no_other() -> None:
    chapter = (ROOT / "docs/relay.md").read_text().split("\n### Who\n")[1].split("\n### ")[0]
    documented = re.findall(r"^\| `([a-z_]+)` \|", chapter, re.MULTILINE)[1:]
    assert sorted(documented) == sorted(kind.value for kind in ActorKind)
