"""Addresses and origins: one spelling for each, and refusals in words that repeat no password."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_relay.address import Address, Network, Ranges, is_loopback, public_origin, tunnel_origin


@pytest.mark.parametrize("text", ["127.0.0.1:8080", "[::1]:0", "relay.example.com:65535", "localhost:1"])
def test_an_address_is_written_as_it_was_read(text: str) -> None:
    assert str(Address.parse(text)) == text


def test_an_address_has_one_spelling() -> None:
    assert Address.parse("[0:0:0:0:0:0:0:1]:80") == Address.parse("[::1]:80")
    assert Address.parse("Relay.Example.com:80").host == "relay.example.com"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("127.0.0.1", "is not host:port"),
        (":80", "is not host:port"),
        ("127.0.0.1:65536", "is not host:port"),
        ("127.0.0.1:-1", "is not host:port"),
        ("127.0.0.1:٨٠", "is not host:port"),
        ("::1:80", "in brackets"),
        ("[127.0.0.1]:80", "in brackets"),
        ("under_score:80", "neither a host name nor an address"),
        ("-dash:80", "neither a host name nor an address"),
        (f"{'a.' * 127}com:80", "neither a host name nor an address"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Address.parse(text)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("localhost.example", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
    assert Address(host, 80).loopback is loopback


def test_a_public_origin_drops_its_default_port_and_a_tunnel_origin_keeps_it() -> None:
    assert public_origin("HTTPS://Mcp.Example.com:443/") == "https://mcp.example.com"
    assert public_origin("http://[::1]:8080") == "http://[::1]:8080"
    assert tunnel_origin("wss://Relay.example.com") == "wss://relay.example.com:443"
    assert tunnel_origin("wss://[::1]:8443/") == "wss://[::1]:8443"


@pytest.mark.parametrize(
    "place", ["relay.example.com", "relay.example.com:99999", "[", "relay.example.com/x", ""]
)
@pytest.mark.parametrize("read", [public_origin, tunnel_origin])
def test_a_password_in_a_url_is_never_repeated(read: object, place: str) -> None:
    assert callable(read)
    for scheme in ("https", "wss", "ftp"):
        with pytest.raises(ValueError, match="is not accepted") as refused:
            read(f"{scheme}://user:canary@{place}")
        assert "canary" not in str(refused.value)


def nets(*texts: str) -> list[Network]:
    return [ipaddress.ip_network(text) for text in texts]


def test_an_address_is_in_one_of_many_networks_or_in_none() -> None:
    ranges = Ranges(nets("192.0.2.0/24", "192.0.2.128/25", "198.51.100.7/32", "2001:db8::/32"))
    for inside in ("192.0.2.0", "192.0.2.255", "198.51.100.7", "2001:db8::", "2001:db8:ffff::1"):
        assert inside in ranges
    for outside in ("192.0.1.255", "192.0.3.0", "198.51.100.6", "2001:db9::", "::", "0.0.0.0", "", "x"):
        assert outside not in ranges
    assert "192.0.2.1" not in Ranges([])


@given(
    st.lists(st.tuples(st.ip_addresses(v=4), st.integers(1, 32)), max_size=8),
    st.ip_addresses(v=4),
)
def test_ranges_say_what_the_networks_say(
    given_networks: list[tuple[ipaddress.IPv4Address, int]], address: ipaddress.IPv4Address
) -> None:
    found = [ipaddress.IPv4Network((each, length), strict=False) for each, length in given_networks]
    assert (str(address) in Ranges(found)) is any(address in network for network in found)
