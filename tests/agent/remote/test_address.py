from __future__ import annotations

import pytest

from penstock_agent.remote import address
from penstock_agent.remote.address import BadAddress, Refused


@pytest.mark.parametrize(
    "url",
    [
        "http://crm.internal:9000/mcp",
        "https://crm/mcp?tenant=a",
        "http://10.0.0.7",
        "http://[fd00::1]:8080/sse",
    ],
)
def test_addresses_of_servers(url: str) -> None:
    assert address.check(url) == url


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("crm.internal:9000", "write http://"),
        ("ftp://crm/mcp", "write http://"),
        ("http:///mcp", "write http://"),
        ("http://crm:0/mcp", "write http://"),
        ("http://crm:99999/mcp", "write http://"),
        ("http://[fd00::1/mcp", "write http://"),
        ("http://crm/a b", "write http://"),
        ("http://crm\\@evil/mcp", "write http://"),
        ("http://grün/mcp", "write http://"),
        ("http://crm/\nx", "write http://"),
        ("http://" + "x" * 2100, "write http://"),
        ("http://user:word@crm/mcp", "must not hold a user name"),
        ("http://crm/mcp#top", "must not have a #fragment"),
    ],
)
def test_what_is_no_address_is_refused_in_words(url: str, words: str) -> None:
    with pytest.raises(BadAddress, match=words):
        address.check(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://crm:9000/mcp?key=secret", "http://crm:9000"),
        ("https://[fd00::1]/x", "https://[fd00::1]"),
        ("http://[x", "an address that cannot be read"),
        ("nothing", "an address that cannot be read"),
    ],
)
def test_what_is_shown_of_an_address_holds_no_path_and_query(url: str, shown: str) -> None:
    assert address.show(url) == shown


def test_which_transport_an_address_looks_like() -> None:
    assert address.looks_like_sse("http://crm/sse?x=1")
    assert not address.looks_like_sse("http://crm/mcp")
    assert not address.looks_like_sse("http://crm/essse2")


BASE = "http://crm:9000/mcp"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/mcp/", "http://crm:9000/mcp/"),
        ("http://CRM:9000/other", "http://CRM:9000/other"),
        ("?x=1", "http://crm:9000/mcp?x=1"),
        ("//crm:9000/x", "http://crm:9000/x"),
    ],
)
def test_a_redirect_within_the_origin_is_followed(location: str, target: str) -> None:
    assert address.redirected("POST", BASE, 307, location) == target


@pytest.mark.parametrize(
    "location",
    [
        "http://crm:9001/mcp",
        "https://crm:9000/mcp",
        "http://crm/mcp",
        "http://crm.evil:9000/mcp",
        "//evil/mcp",
        "http://crm:9000@evil/mcp",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://[x",
        "\\\\evil\\x",
    ],
)
def test_a_redirect_to_anywhere_else_is_refused(location: str) -> None:
    with pytest.raises(Refused):
        address.redirected("POST", BASE, 308, location)


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_post_is_not_repeated_where_half_of_all_clients_would_make_it_a_get(status: int) -> None:
    with pytest.raises(Refused, match=str(status)):
        address.redirected("POST", BASE, status, "/mcp/")
    assert address.redirected("GET", BASE, status, "/mcp/") == "http://crm:9000/mcp/"


def test_default_ports_are_of_the_same_origin() -> None:
    assert address.origin("https://crm/") == address.origin("https://CRM.:443/x")
    assert address.is_plain("http://crm/")
    assert not address.is_plain("https://crm/")
