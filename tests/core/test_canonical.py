"""The canonical form of JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.canonical import canonical, digest

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)


@given(VALUES)
def test_spaces_order_and_escapes_make_no_difference(value: object) -> None:
    tidy = canonical(json.dumps(value, ensure_ascii=False).encode())
    assert canonical(json.dumps(value, indent=3, sort_keys=True).encode()) == tidy
    assert canonical(tidy) == tidy
    assert json.loads(tidy) == value


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.booleans()))
def test_compact_and_spaced_numbers_are_the_same(numbers: list[float]) -> None:
    compact = json.dumps(numbers, separators=(",", ":")).encode()
    assert canonical(compact) == canonical(json.dumps(numbers, indent=1).encode()) == compact


@given(VALUES, VALUES)
def test_what_differs_has_another_form(one: object, other: object) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (canonical(json.dumps(one).encode()) == canonical(json.dumps(other).encode())) is same


@pytest.mark.parametrize("text", ["1", "1.0", "1e0", "10E-1", "123456789012345678901234567890", "-0"])
def test_numbers_stay_as_they_were_written(text: str) -> None:
    assert canonical(f' [ {text} , {{"a": {text}}} ] '.encode()) == f'[{text},{{"a":{text}}}]'.encode()


@pytest.mark.parametrize(
    "raw", [b'{"a":1,"a":2}', b"", b"{", b"NaN", b"[1] x", b"\xff", b'"\\ud800"', b"[" * 100_000]
)
def test_what_has_no_one_meaning_has_no_canonical_form(raw: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever the reason
        canonical(raw)


def test_the_digest_is_of_that_form() -> None:
    assert digest(b'{"b": 1, "a": "\\u00e9"}') == digest('{"a":"é","b":1}'.encode())
    assert digest(b"{}") == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
