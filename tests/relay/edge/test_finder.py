from __future__ import annotations

import ipaddress
from typing import Any, Final

import pytest

from penstock_relay.edge.finder import Finder

TRUSTED: Final = (ipaddress.ip_network("127.0.0.0/8"),)


def warnings_of(
    caplog: pytest.LogCaptureFixture, finder: Finder, *asked: tuple[str, tuple[tuple[str, str], ...]]
) -> list[Any]:
    caplog.clear()
    with caplog.at_level("WARNING"):
        for remote, headers in asked:
            finder(remote, headers)
    return [record.msg for record in caplog.records]


def test_an_operator_who_names_no_proxy_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = warnings_of(caplog, Finder(None, proxied=True), *[("127.0.0.1", ())] * 3)
    assert line["event"] == "trusted_proxies_not_set"
    assert line["peer"] == "127.0.0.1"
    assert "trusted_proxies" in line["do"]
    header = (("x-forwarded-for", "192.0.2.1"),)
    assert len(warnings_of(caplog, Finder(None, proxied=False), ("127.0.0.1", header))) == 1


def test_nobody_is_told_where_nothing_is_wrong(caplog: pytest.LogCaptureFixture) -> None:
    assert warnings_of(caplog, Finder(None, proxied=False), ("127.0.0.1", ())) == []  # a relay to try out
    assert warnings_of(caplog, Finder(None, proxied=True), ("8.8.8.8", ())) == []
    assert warnings_of(caplog, Finder(TRUSTED, proxied=True), ("127.0.0.1", ())) == []
    assert warnings_of(caplog, Finder((), proxied=True), ("127.0.0.1", ())) == []
