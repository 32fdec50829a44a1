"""Who somebody is, from what a provider says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.principal import Principal
from penstock_relay.oauth.upstream import person
from penstock_relay.oauth.upstream.person import ClaimNames, Person
from penstock_relay.store.people import MAX_GROUPS

ISSUER = "https://sso.example"
USUAL = ClaimNames()


def read(**claims: Any) -> Person:
    return person.read(ISSUER, "s", claims, USUAL)


@pytest.mark.parametrize(
    ("claims", "email"),
    [
        ({"email": "a@b.example", "email_verified": True}, "a@b.example"),
        ({"email": "a@b.example", "email_verified": "true"}, "a@b.example"),
        ({"email": "a@b.example", "xms_edov": True}, "a@b.example"),
        ({"email": "a@b.example", "email_verified": False}, ""),
        ({"email": "a@b.example", "email_verified": "no"}, ""),
        ({"email": "a@b.example"}, ""),
        ({"email": "nobody", "email_verified": True}, ""),
        ({"email": "a" * 250 + "@b.example", "email_verified": True}, ""),
        ({"email": "a@b\n", "email_verified": True}, ""),
        ({"email": ["a@b.example"], "email_verified": True}, ""),
        ({"email_verified": True}, ""),
    ],
)
def test_an_address_counts_when_the_provider_has_verified_it(claims: dict[str, Any], email: str) -> None:
    assert read(**claims).email == email


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"name": "Anna", "preferred_username": "anna"}, "Anna"),
        ({"preferred_username": "anna"}, "anna"),
        ({"name": "a\u202eb"}, ""),
        ({"name": 7}, ""),
        ({"name": "x" * 300}, "x" * 200),
        ({}, ""),
    ],
)
def test_what_a_user_is_called(claims: dict[str, Any], name: str) -> None:
    assert read(**claims).name == name


@pytest.mark.parametrize(
    ("value", "groups"),
    [
        (["a", "b", "a"], ("a", "b")),
        (["Staff of Oslo", "/realm/ops", "é"], ("Staff of Oslo", "/realm/ops", "é")),
        (
            ["", " a", "a ", "a\nb", "a\u202eb", "x" * 201, "é" * 101, "\udcff\udcff", 7, None, ["c"], "ok"],
            ("ok",),
        ),
        ("a", ()),
        ({"a": 1}, ()),
        (None, ()),
    ],
)
def test_groups_are_those_that_can_be_named(value: object, groups: tuple[str, ...]) -> None:
    assert read(groups=value).groups == groups


def test_groups_of_one_user_are_bounded() -> None:
    assert len(read(groups=[f"g{number}" for number in range(2000)]).groups) == person.MAX_GROUPS


@given(st.lists(st.text(max_size=210), max_size=MAX_GROUPS, unique=True), st.text(max_size=300))
def test_whatever_it_says_can_travel_to_a_site(groups: list[str], name: str) -> None:
    found = read(groups=groups, name=name, email="a@b.example", email_verified=True)
    Principal(found.issuer, found.subject, found.name, found.email, found.groups, "c" * 2048).dump()


def test_the_largest_groups_travel_too() -> None:
    found = read(groups=[f"{number:03}{chr(34) * 197}" for number in range(MAX_GROUPS)], name='"' * 200)
    assert len(found.groups) == MAX_GROUPS
    Principal(found.issuer, "s" * 1024, found.name, found.email, found.groups, "c" * 2048).dump()


def test_claims_may_lie_deeper_or_have_dots() -> None:
    names = ClaimNames("https://example.com/name", "realm_access.roles")
    claims = {"https://example.com/name": "Anna", "realm_access": {"roles": ["ops"]}}
    found = person.read(ISSUER, "s", claims, names)
    assert (found.name, found.groups) == ("Anna", ("ops",))


def test_too_many_groups_for_a_token_are_noticed() -> None:
    assert person.left_groups_out({"_claim_names": {"groups": "src1"}}, USUAL)
    assert person.left_groups_out({"hasgroups": True}, USUAL)
    assert not person.left_groups_out({"_claim_names": {"roles": "src1"}, "groups": []}, USUAL)


@pytest.mark.parametrize(
    ("email", "first"),
    [
        ("anna@example.com", "anna@example.com"),
        ("Anna.Berg@Example.com", "anna.berg@example.com"),
        ("", None),
        ("o'neil@example.com", None),
        ("a" * 60 + "@example.com", None),
        ("\u212aim@example.com", None),
    ],
)
def test_a_user_is_called_what_nobody_can_choose(email: str, first: str | None) -> None:
    name, spare = person.handles(Person(ISSUER, "s-1", "alice", email))
    assert spare.startswith("user-")
    assert len(spare) == 29
    assert name == (first or spare)


def test_spare_names_are_of_issuer_and_subject_alone() -> None:
    def spare(issuer: str, subject: str) -> str:
        return person.handles(Person(issuer, subject, "x"))[1]

    assert spare("https://a", "b") == spare("https://a", "b")
    assert (
        len(
            {
                spare("https://a", "b"),
                spare("https://a", "c"),
                spare("https://ab", ""),
                spare("https://", "ab"),
            }
        )
        == 4
    )
