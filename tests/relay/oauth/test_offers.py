"""What a site says that a server exposes: read strictly, since a page is made of it."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_relay.oauth import offers
from penstock_relay.oauth.offers import Effect, NoSites, Offer, Tool


def test_an_offer_is_read() -> None:
    data = b'{"tools":[{"name":"a","effect":"write","description":"d","new":1}],"prompts":1,"resources":2}'
    assert offers.parse(data) == Offer((Tool("a", Effect.WRITE, "", "d"),), 1, 2)
    assert offers.parse(b"{}") == Offer()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"tools":[{"name":"a"}]}',
        b'{"tools":[{"name":"a","effect":"harmless"}]}',
        b'{"tools":[{"name":"","effect":"read"}]}',
        b'{"tools":[{"name":"a","effect":"read"},{"name":"a","effect":"destructive"}]}',
        b'{"prompts":-1}',
        b'{"prompts":"many"}',
        msgspec.json.encode({"tools": [{"name": "a", "effect": "read", "title": "t" * 401}]}),
        msgspec.json.encode({"tools": [{"name": "a", "effect": "read", "description": "t" * 401}]}),
        msgspec.json.encode({"tools": [{"name": str(n), "effect": "read"} for n in range(10_001)]}),
        b" " * (offers.MAX_BYTES + 1),
    ],
)
def test_anything_else_is_none(data: bytes) -> None:
    with pytest.raises(ValueError, match="the answer"):
        offers.parse(data)


@given(st.binary())
def test_any_bytes_are_an_offer_or_a_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        offers.parse(data)


async def test_without_sites_all_are_silent() -> None:
    sites = NoSites()
    assert sites.servers("oslo") == frozenset()
    assert not sites.lacks("oslo", "files")
