"""Who asks, behind proxies; tests/data/edge/forwarded.json has the attacks."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_relay.address import Network
from penstock_relay.edge.peer import MAX_HOPS, found, is_proxy
from penstock_relay.oauth.web import Peer

ROWS: Final[list[dict[str, Any]]] = json.loads(
    (Path(__file__).parents[2] / "data" / "edge" / "forwarded.json").read_text(encoding="utf-8")
)
TRUSTED: Final[tuple[Network, ...]] = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "fd00::/8", "127.0.0.1/32"))
)


def test_no_row_stands_twice() -> None:
    assert len({row["what"] for row in ROWS}) == len(ROWS) >= 40


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row["what"]))
def test_the_caller_is_the_last_address_that_no_trusted_proxy_has(row: dict[str, Any]) -> None:
    headers = tuple(("x-forwarded-for", line) for line in row["for"])
    headers += tuple((name, value) for name, value in row.get("others", {}).items())
    assert found(row["remote"], headers, TRUSTED) == Peer(row["caller"], row.get("shared", False))


@given(st.text(max_size=60), st.ip_addresses().filter(lambda a: not any(a in n for n in TRUSTED)))
def test_whatever_a_caller_writes_itself_it_is_the_address_that_the_proxy_saw(
    invented: str, real: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> None:
    for headers in (
        (("x-forwarded-for", f"{invented}, {real}"),),
        (("x-forwarded-for", invented), ("x-forwarded-for", str(real))),
    ):
        peer = found("10.0.0.1", headers, TRUSTED)
        mapped = getattr(real, "ipv4_mapped", None)
        assert peer == Peer(str(mapped or real), False) or (mapped is not None and mapped in TRUSTED[0])


@given(st.text(max_size=80))
def test_who_is_no_proxy_is_not_asked_for_whom(invented: str) -> None:
    assert found("192.0.2.1", (("x-forwarded-for", invented),), TRUSTED) == Peer("192.0.2.1", False)


def test_more_hops_than_anybody_has_are_not_read() -> None:
    hops = ", ".join(["192.0.2.1"] + ["10.0.0.2"] * MAX_HOPS)
    assert found("10.0.0.1", (("x-forwarded-for", hops),), TRUSTED) == Peer("10.0.0.2", True)
    hops = ", ".join(["192.0.2.1"] + ["10.0.0.2"] * (MAX_HOPS - 1))
    assert found("10.0.0.1", (("x-forwarded-for", hops),), TRUSTED) == Peer("192.0.2.1", False)


@pytest.mark.parametrize(
    ("remote", "headers", "shared"),
    [
        ("127.0.0.1", (), True),
        ("10.1.2.3", (), True),
        ("fd00::1", (), True),
        ("::ffff:10.1.2.3", (), True),
        ("8.8.8.8", (), False),
        ("2600::1", (), False),
        ("8.8.8.8", (("x-forwarded-for", "9.9.9.9"),), True),
    ],
)
def test_where_proxies_are_not_named_an_address_that_may_be_one_stands_for_many(
    remote: str, headers: tuple[tuple[str, str], ...], shared: bool
) -> None:
    assert found(remote, headers, None).shared is shared
    assert found(remote, headers, ()).shared is False  # where there are none, everybody is himself


@pytest.mark.parametrize("remote", [None, "", "nonsense", "/run/x.sock"])
def test_a_peer_without_an_address_is_nobody(remote: str | None) -> None:
    assert found(remote, (("x-forwarded-for", "192.0.2.1"),), TRUSTED) == Peer()


def test_whose_headers_are_believed() -> None:
    for remote in ("10.0.0.1", "::ffff:10.0.0.1", "fd00::1", "127.0.0.1"):
        assert is_proxy(remote, TRUSTED)
    for other in ("192.0.2.1", "127.0.0.2", "", None, "x"):
        assert not is_proxy(other, TRUSTED)
