"""Recovery codes: as they are shown, typed and kept."""

from __future__ import annotations

import re

import pytest

from penstock_relay.oauth.factor import recovery


def test_there_are_eight_of_twenty_digits_and_no_two_alike() -> None:
    codes = recovery.new_codes()
    assert len(set(codes)) == recovery.COUNT == 8
    for code in codes:
        assert re.fullmatch(r"\d{5} \d{5} \d{5} \d{5}", code)
        assert len(recovery.digits(code)) == recovery.LENGTH


@pytest.mark.parametrize(
    ("typed", "digits"),
    [
        ("123456", "123456"),
        (" 123 456 ", "123456"),
        ("12345 67890 12345 67890", "12345678901234567890"),
        ("12345-67890-12345-67890", "12345678901234567890"),
        ("12345\u00a067890\t12345 67890", "12345678901234567890"),
        ("", ""),
        ("12345", ""),
        ("1234567", ""),
        ("12345a", ""),
        ("+12345", ""),
        ("１２３４５６", ""),
        ("٠١٢٣٤٥", ""),
        ("123456" + " " * 60, ""),
        ("1" * 10_000, ""),
    ],
)
def test_what_was_typed_is_read_without_spaces_and_dashes(typed: str, digits: str) -> None:
    assert recovery.digits(typed) == digits


def test_the_hash_of_a_code_is_one_users() -> None:
    code = "12345678901234567890"
    assert recovery.digest("alice", code) == recovery.digest("alice", code)
    assert recovery.digest("alice", code) != recovery.digest("bob", code)
    assert len(recovery.digest("alice", code)) == 32
