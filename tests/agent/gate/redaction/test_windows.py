"""Tokens of JSON are the same, however much of it is read in one step."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_agent.gate.redaction import windows
from penstock_agent.gate.redaction.windows import ALL, MOST

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text('ab"\\{,: 1\u00e4', max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('k":\\ ', max_size=5), inner, max_size=4)
    ),
    max_leaves=30,
)


def spans(token: re.Pattern[bytes], raw: bytes) -> list[tuple[int, int, int]]:
    return [
        (*one.span(), one.start(1) if raw[one.start()] == windows.QUOTE else -1)
        for some in windows.windows(token, raw)
        for one in some
    ]


@pytest.mark.parametrize("token", [ALL, MOST])
@pytest.mark.parametrize("indent", [None, 3, 30])
@given(value=values, window=st.integers(26, 80))
def test_where_it_is_cut_changes_nothing(
    token: re.Pattern[bytes], indent: int | None, value: object, window: int
) -> None:
    separators = None if indent is None else (" " * indent + ",", " " * indent + ":")
    raw = json.dumps(value, indent=indent, separators=separators).encode()
    whole = [
        (*one.span(), one.start(1) if raw[one.start()] == windows.QUOTE else -1)
        for one in token.finditer(raw)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "_WINDOW", window)
        assert spans(token, raw) == whole


@pytest.mark.parametrize("before", range(30))
@pytest.mark.parametrize("number", ["4111111111111111", "1" * 70, "-1.5e300", "12345678901"])
def test_a_number_at_the_end_of_a_step_is_seen_whole(
    before: int, number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "_WINDOW", 40)
    raw = f"[{'1,' * before}{number},{number}]".encode()
    for token in (ALL, MOST):
        assert spans(token, raw) == [(*one.span(), -1) for one in token.finditer(raw)]


def test_no_step_reads_much_of_what_holds_nothing() -> None:
    raw = b"[" + b"1," * 100_000 + b"1]"
    assert [len(some) for some in windows.windows(MOST, raw)][1:-1] == [0] * (len(raw) // windows._WINDOW - 1)
