from __future__ import annotations

import ipaddress
from pathlib import Path

from penstock.http import Headers
from penstock_relay.edge.callers import Callers
from penstock_relay.edge.clientcert import Certificates
from tests.harness.certs import Authority

NETWORKS = [ipaddress.ip_network("160.79.104.0/21"), ipaddress.ip_network("2001:db8::/32")]
TRUSTED = [ipaddress.ip_network("10.0.0.0/8")]


def asked(callers: Callers, remote: str | None, *forwarded: str) -> bool:
    return callers.allow(remote, tuple(("x-forwarded-for", line) for line in forwarded))


def test_callers_of_the_listed_networks_may_call_behind_a_proxy_or_directly() -> None:
    callers = Callers(NETWORKS, TRUSTED)
    assert asked(callers, "160.79.104.1")
    assert asked(callers, "::ffff:160.79.104.1")
    assert asked(callers, "2001:db8::1")
    assert asked(callers, "10.0.0.1", "160.79.111.255")
    assert asked(callers, "10.0.0.1", "192.0.2.1, 160.79.104.1, 10.0.0.2")


def test_nobody_else_may_whatever_the_header_says() -> None:
    callers = Callers(NETWORKS, TRUSTED)
    assert not asked(callers, "192.0.2.1")
    assert not asked(callers, "192.0.2.1", "160.79.104.1")
    assert not asked(callers, "10.0.0.1", "160.79.104.1, 192.0.2.1")
    assert not asked(callers, "10.0.0.1", "160.79.104.1", "192.0.2.1")
    assert not asked(callers, "10.0.0.1", "160.79.104.1, unknown")
    assert not asked(callers, "10.0.0.1")
    assert not asked(callers, "160.79.112.0")
    assert not asked(callers, None, "160.79.104.1")
    assert not asked(callers, "", "160.79.104.1")


def test_where_there_is_no_proxy_no_header_counts() -> None:
    callers = Callers(NETWORKS, ())
    assert asked(callers, "160.79.104.1", "192.0.2.1")
    assert not asked(callers, "10.0.0.1", "160.79.104.1")


def test_the_list_can_change() -> None:
    callers = Callers(NETWORKS, ())
    callers.replace([ipaddress.ip_network("192.0.2.0/24")])
    assert asked(callers, "192.0.2.1")
    assert not asked(callers, "160.79.104.1")


class Seen(Certificates):
    """Good ones."""

    def __init__(self, folder: Path) -> None:
        super().__init__([Authority(folder).certificate], [], "client-cert", lambda: 0.0)

    def allow(self, headers: Headers) -> bool:
        return ("client-cert", "good") in headers


def test_a_certificate_counts_when_a_trusted_proxy_has_seen_it_and_from_nobody_else(
    tmp_path: Path,
) -> None:
    seen = Seen(tmp_path)
    callers = Callers(NETWORKS, TRUSTED, seen)
    good, far = ("client-cert", "good"), ("x-forwarded-for", "192.0.2.1")
    assert callers.allow("10.0.0.1", (far, good))
    assert callers.allow("10.0.0.1", (good,))
    assert not callers.allow("10.0.0.1", (far, ("client-cert", "bad")))
    assert not callers.allow("192.0.2.1", (good,))
    assert not callers.allow("192.0.2.1", (("x-forwarded-for", "10.0.0.1"), good))
    assert not callers.allow(None, (good,))
    assert callers.allow("160.79.104.1", ())
    assert not Callers(NETWORKS, (), seen).allow("10.0.0.1", (good,))
