"""The document: what it keeps, and what is not taken for one."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_relay.ca import keys, record
from penstock_relay.ca.certificates import authority, vouching
from penstock_relay.ca.keys import CaError
from penstock_relay.ca.record import MAX_ANCHORS, Anchor, Record
from penstock_relay.ca.rotation import Phase
from penstock_relay.sealed import PLAIN
from tests.relay.ca.making import NOW, p256


def anchor(added_at: float = NOW) -> Anchor:
    key = p256()
    made = Anchor(authority(key, NOW), None, added_at)
    return replace(made, key=keys.seal(key, made.pin, PLAIN))


FIRST = record.first(anchor())
BOTH = record.announced(FIRST, anchor(NOW + 60), NOW + 60)
VOUCHED = replace(
    BOTH,
    anchors=(
        replace(
            BOTH.current,
            vouched=vouching(
                BOTH.current.certificate,
                FIRST.current.certificate,
                keys.unseal(FIRST.current.key or "", FIRST.current.pin, PLAIN),
                NOW,
            ),
        ),
        *BOTH.anchors[1:],
    ),
)


@pytest.mark.parametrize(
    "found", [FIRST, BOTH, VOUCHED, record.signing(VOUCHED, NOW + 120), record.retired(VOUCHED, NOW + 180)]
)
def test_what_is_written_is_read(found: Record) -> None:
    assert record.parse(record.dump(found), "ca.json") == found


def test_the_steps_change_what_they_say() -> None:
    old, new = FIRST.current, BOTH.current
    assert (BOTH.phase, BOTH.since, BOTH.anchors) == (Phase.ANNOUNCED, NOW + 60, (new, old))
    signing = record.signing(VOUCHED, NOW + 120)
    assert (signing.phase, signing.since) == (Phase.SIGNING, NOW + 120)
    assert signing.current.signs_since == NOW + 120
    assert signing.progress.signs_since == NOW + 120
    assert signing.progress.vouched
    retired = record.retired(signing, NOW + 180)
    assert (retired.phase, [a.pin for a in retired.anchors]) == (Phase.STEADY, [new.pin])
    assert retired.current.vouched is None


def test_an_anchor_that_signs_since_it_was_announced_keeps_that_moment() -> None:
    given_before = record.announced(FIRST, replace(anchor(NOW + 60), signs_since=NOW + 60), NOW + 60)
    assert record.signing(given_before, NOW + 120).progress.signs_since == NOW + 60


def test_an_anchor_that_comes_back_is_there_once() -> None:
    back = record.announced(BOTH, replace(FIRST.current, added_at=NOW + 90), NOW + 90)
    assert [a.pin for a in back.anchors] == [FIRST.current.pin, BOTH.current.pin]


def test_the_oldest_of_too_many_goes() -> None:
    found = FIRST
    for turn in range(MAX_ANCHORS + 2):
        found = record.announced(found, anchor(NOW + turn), NOW + turn)
    assert len(found.anchors) == MAX_ANCHORS
    assert record.parse(record.dump(found), "ca.json") == found


def test_a_newer_version_is_named() -> None:
    document = json.loads(record.dump(FIRST)) | {"version": 2, "more": 1}
    with pytest.raises(CaError, match=r"^ca\.json was written by a newer version"):
        record.parse(json.dumps(document).encode(), "ca.json")


@pytest.mark.parametrize(
    "change",
    [
        {"phase": "resting"},
        {"anchors": []},
        {"anchors": [{"certificate": "x", "added_at": 0}]},
        {"phase": "announced"},  # with one anchor only
        {"more": 1},
        {"since": "yesterday"},
    ],
)
def test_damage_is_named_and_nothing_of_it_repeated(change: dict[str, object]) -> None:
    document = json.loads(record.dump(FIRST)) | change
    with pytest.raises(CaError, match=r"^ca\.json is damaged\. Restore it from a backup\.$"):
        record.parse(json.dumps(document).encode(), "ca.json")


def test_the_same_key_twice_is_damage() -> None:
    twice = replace(BOTH, anchors=(BOTH.current, BOTH.current))
    with pytest.raises(CaError, match="damaged"):
        record.parse(record.dump(twice), "ca.json")


WHOLE = record.dump(VOUCHED)


@given(st.integers(0, len(WHOLE.rstrip()) - 1))
def test_half_a_document_is_damage(length: int) -> None:
    with pytest.raises(CaError, match="damaged"):
        record.parse(WHOLE[:length], "ca.json")


@given(st.binary(max_size=200))
def test_anything_else_is_damage(data: bytes) -> None:
    with pytest.raises(CaError):
        record.parse(data, "ca.json")
