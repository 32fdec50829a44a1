"""E-mail addresses, as they stand in texts."""

from __future__ import annotations

import pytest

from penstock_agent.gate.redaction.addresses import find


@pytest.mark.parametrize(
    "address",
    [
        "bob@example.com", "bob.smith+news@mail.example.co.uk", "b@x.io", "BOB@EXAMPLE.COM",
        "a_b-c%d@e-f.org",
        "jürgen@exämple.de", "info@xn--exmple-cua.de", "x@a.b.c.d.example.museum",
    ],
)  # fmt: skip
def test_an_address_is_found_and_nothing_around_it(address: str) -> None:
    for before, after in [
        ("", ""), ("mail ", "."), ("<", ">"), ("mailto:", "?subject=x"), ('"', '"'), ("(", "), and"),
        ("\1", "\0"),
        ("user=", "&x"), ("'", "'"), (",", ";"),
    ]:  # fmt: skip
        text = f"{before}{address}{after}"
        assert [text[start:end] for start, end in find(text)] == [address], (before, after)


def test_several_in_a_row_are_told_apart() -> None:
    assert len(find("a@b.com,c@d.org a@b.com@c.net")) == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "a@b",
        "package@1.2.3",
        "@scope/package",
        "me @example.com",
        "a@-.com",
        "10@ 3.50",
        "a@b.c",
        "@@@..@",
    ],
)
def test_what_is_no_address_stays(text: str) -> None:
    assert find(text) == []
