"""What a caller brings back opens for it alone, for the same request, and in time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.principal import Principal
from penstock_agent.endpoint.bridge.down.state import BadState, States

ALICE = Principal("https://idp.example", "alice", client="assistant")
KEY, NONCE = b"k" * 32, b"n" * 12


def sealed(until: float = 100.0) -> str:
    return States(KEY).seal("handle", until, NONCE, "files", ALICE, b"what")


def test_it_opens_for_whom_it_was_sealed() -> None:
    assert States(KEY).open(sealed(), 99.9, "files", ALICE, b"what") == "handle"


@pytest.mark.parametrize(
    ("key", "now", "server", "caller", "essence"),
    [
        (b"x" * 32, 0.0, "files", ALICE, b"what"),
        (KEY, 100.0, "files", ALICE, b"what"),
        (KEY, 0.0, "other", ALICE, b"what"),
        (KEY, 0.0, "files", Principal("https://idp.example", "alice", client="another"), b"what"),
        (KEY, 0.0, "files", Principal("https://idp.example", "bob", client="assistant"), b"what"),
        (KEY, 0.0, "files", Principal("https://other.example", "alice", client="assistant"), b"what"),
        (KEY, 0.0, "files", ALICE, b"something else"),
    ],
    ids=["key", "time", "server", "client", "user", "issuer", "request"],
)
def test_it_opens_for_nothing_else(
    key: bytes, now: float, server: str, caller: Principal, essence: bytes
) -> None:
    with pytest.raises(BadState):
        States(key).open(sealed(), now, server, caller, essence)


@given(st.integers(0, len(sealed()) - 1), st.sampled_from("0123456789abcdef"))
def test_a_changed_one_does_not_open(at: int, digit: str) -> None:
    good = sealed()
    changed = good[:at] + digit + good[at + 1 :]
    if changed != good:
        with pytest.raises(BadState):
            States(KEY).open(changed, 0.0, "files", ALICE, b"what")


@given(st.text(max_size=300))
def test_garbage_does_not_open(text: str) -> None:
    with pytest.raises(BadState):
        States(KEY).open(text, 0.0, "files", ALICE, b"what")
