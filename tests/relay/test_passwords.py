"""Passwords: what is kept, what it costs, and which ones are refused."""

import pytest
from argon2 import extract_parameters
from argon2.low_level import Type

from penstock_relay import passwords

GOOD = "correct horse battery"


def test_what_is_kept_fits_its_password_alone_and_does_not_hold_it() -> None:
    kept = passwords.hash_password(GOOD)
    assert passwords.verify(kept, GOOD)
    assert not passwords.verify(kept, GOOD + " ")
    assert not passwords.verify(kept, GOOD.upper())
    assert not passwords.verify(kept, "")
    assert GOOD not in kept
    assert len(kept) <= 200  # the column's width


def test_the_same_password_is_kept_differently_each_time() -> None:
    assert passwords.hash_password(GOOD) != passwords.hash_password(GOOD)


def test_the_hash_is_argon2id_with_the_documented_cost() -> None:
    found = extract_parameters(passwords.hash_password(GOOD))
    assert found.type is Type.ID
    assert (found.memory_cost, found.time_cost, found.parallelism) == (19 * 1024, 2, 1)


def test_the_hash_of_nobody_costs_the_same_and_fits_nothing() -> None:
    assert extract_parameters(passwords.DUMMY) == extract_parameters(passwords.hash_password(GOOD))
    assert not passwords.verify(passwords.DUMMY, GOOD)
    assert not passwords.verify(passwords.DUMMY, "")


@pytest.mark.parametrize("kept", ["", "x", "$argon2id$v=19$m=19456,t=2,p=1$x", "$1$salt$hash"])
def test_what_is_no_hash_fits_nothing(kept: str) -> None:
    assert not passwords.verify(kept, GOOD)


@pytest.mark.parametrize("letter", ["x", "é", "鍵", "\0"])
def test_letters_of_every_alphabet_count_and_none_is_cut_off(letter: str) -> None:
    password = f"{GOOD}{letter}tail"
    kept = passwords.hash_password(password)
    assert passwords.verify(kept, password)
    assert not passwords.verify(kept, f"{GOOD}{letter}")


def test_a_password_longer_than_any_that_is_taken_is_not_worked_on() -> None:
    longest = (GOOD * 20)[: passwords.LONGEST]
    assert passwords.verify(passwords.hash_password(longest), longest)
    too_long = longest + "x"
    assert not passwords.verify(passwords.hash_password(too_long), too_long)


@pytest.mark.parametrize(
    ("password", "name"),
    [
        (GOOD, "alice"),
        ("abcdefghijkl", "bob"),  # the shortest
        (("abcd" * 64)[: passwords.LONGEST], "bob"),  # the longest
        ("alice has four cats", "alice"),
        ("ключ от сарая", "bob"),
        ("aunt correct", "a"),  # a short name stands in many words
    ],
)
def test_a_password_that_is_good_enough(password: str, name: str) -> None:
    assert passwords.problem(password, name) is None


@pytest.mark.parametrize(
    ("password", "name", "why"),
    [
        ("", "bob", "fewer than 12"),
        ("abcdefghijk", "bob", "fewer than 12"),
        ("abcd" * 64 + "e", "bob", "more than 256"),
        ("aaaaaaaaaaaaaaaa", "bob", "repeats"),
        ("ababababababab", "bob", "repeats"),
        ("alice@example.com", "alice@example.com", "user name"),
        ("Alice@Example.COM", "alice@example.com", "user name"),
        ("alice@example.com1", "alice@example.com", "user name"),
        ("alicealicealice", "alice", "user name"),
    ],
)
def test_a_weak_password_is_refused_in_a_sentence_without_it(password: str, name: str, why: str) -> None:
    found = passwords.problem(password, name)
    assert found is not None
    assert why in found
    assert found.endswith(".")
    assert not password or password not in found
