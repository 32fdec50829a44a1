from __future__ import annotations

import ipaddress
import json
from datetime import date
from pathlib import Path

import pytest

from penstock_relay import egress
from penstock_relay.address import Network
from penstock_relay.egress import MAX_FILE, assistants, check, networks, shipped


def nets(*texts: str) -> list[Network]:
    return [ipaddress.ip_network(text) for text in texts]


def test_what_is_shipped_has_a_source_and_a_day() -> None:
    listed = json.loads(egress._SHIPPED.read_text(encoding="utf-8"))
    assert set(listed) == set(shipped())
    for entry in listed.values():
        assert set(entry) == {"source", "read", "networks"}
        assert entry["source"].startswith("https://")
        date.fromisoformat(entry["read"])
    assert shipped()["anthropic"] == (ipaddress.ip_network("160.79.104.0/21"),)


def test_assistants_are_those_shipped_and_those_listed() -> None:
    assert assistants(None) == tuple(nets("160.79.104.0/21"))
    assert set(assistants(nets("192.0.2.0/24"))) == set(nets("160.79.104.0/21", "192.0.2.0/24"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("192.0.2.0/24\n\n# mine\n2001:db8::/32  # and this\n", ["192.0.2.0/24", "2001:db8::/32"]),
        (
            '{"creationTime": "x", '
            '"prefixes": [{"ipv4Prefix": "192.0.2.0/28"}, {"ipv6Prefix": "2001:db8::/48"}]}',
            ["192.0.2.0/28", "2001:db8::/48"],
        ),
    ],
)
def test_a_file_is_lines_or_json_as_it_is_published(tmp_path: Path, text: str, found: list[str]) -> None:
    path = tmp_path / "list"
    path.write_text(text)
    assert list(map(str, networks([f"file:{path}"]))) == found


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "lists no network"),
        (b"# nothing\n", "lists no network"),
        (b'{"prefixes": []}', "lists no network"),
        (b'{"prefixes": 7}', "lists no network"),
        (b'{"prefixes": [{"prefix": "192.0.2.0/24"}]}', "neither ipv4Prefix nor ipv6Prefix"),
        (b'{"prefixes": [7]}', "neither ipv4Prefix nor ipv6Prefix"),
        (b'{"prefixes": [', "neither JSON nor lines"),
        (b"\xff\xfe", "neither JSON nor lines"),
        (b"<html>", "'<html>' is not a network"),
        (b"0.0.0.0/0\n", "is everybody"),
        (b"#" * (MAX_FILE + 1), "is longer than"),
    ],
)
def test_a_file_that_is_no_list_is_refused_whole(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "list"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=why):
        networks([f"file:{path}"])


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read .*/none: No such file"):
        networks([f"file:{tmp_path / 'none'}"])


def test_a_network_is_written_one_way() -> None:
    assert check("192.0.2.7") == "192.0.2.7/32"
    assert check("2001:DB8::/32") == "2001:db8::/32"
