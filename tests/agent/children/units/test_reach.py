from __future__ import annotations

import pytest

from penstock_agent.children.units.reach import Reach, parse


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        (["10.0.0.5:5432"], Reach(("10.0.0.5",), (5432,))),
        (["10.0.0.0/8", "[2001:db8::/32]", "::1"], Reach(("10.0.0.0/8", "2001:db8::/32", "::1"))),
        (["[2001:db8::1]:443", "10.0.0.5/32:443"], Reach(("2001:db8::1", "10.0.0.5"), (443,))),
        (["10.0.0.5:443", "10.0.0.5:80"], Reach(("10.0.0.5",), (80, 443))),
    ],
)
def test_addresses_and_their_ports_are_read(entries: list[str], found: Reach) -> None:
    assert parse(entries) == found


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([], "should name 1 to 64"),
        (["db.internal:5432"], "write the address that it stands for"),
        (["10.0.0.5/8:1"], "without bits behind its mask"),
        (["10.0.0.5:0"], "has no port behind its colon"),
        (["10.0.0.5:http"], "has no port behind its colon"),
        (["[::1"], "is no address"),
        (["10.0.0.5", "10.0.0.6:1"], "for all, or for none"),
        (["10.0.0.5:1", "10.0.0.6:2"], "so 10.0.0.5:2 could be reached as well"),
    ],
)
def test_what_cannot_be_enforced_is_refused(entries: list[str], words: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # its text is what is looked at
        parse(entries)
    assert words in str(refused.value)


def test_an_address_of_the_machine_s_own_shows_whether_it_is_enforced() -> None:
    assert parse(["10.0.0.5:1"]).probe == "127.255.255.254"
    assert parse(["127.0.0.0/8"]).probe == "::1"
    assert parse(["127.0.0.0/8", "::/0"]).probe == ""
