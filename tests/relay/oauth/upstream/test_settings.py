"""The table [upstream]: what is refused, and what is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from penstock_relay.oauth.upstream.settings import UpstreamSettings

GOOD: dict[str, Any] = {"issuer": "https://sso.example/realms/main", "client_id": "relay"}


def test_little_has_to_be_said() -> None:
    found = UpstreamSettings(**GOOD)
    assert found.scopes == ("openid", "email", "profile")
    assert (found.max_age_s, found.logout_ends) == (12 * 3600, "grants")
    assert (found.names.name, found.names.groups) == ("name", "groups")
    assert found.secret() is None


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "http://sso.example"},
        {"issuer": "https://sso.example?x=1"},
        {"issuer": "https://u:p@sso.example"},
        {"issuer": "https://" + "a" * 512},
        {"client_id": ""},
        {"scopes": ["email"]},
        {"scopes": []},
        {"scopes": ["openid", "a b"]},
        {"algorithms": []},
        {"algorithms": ["HS256"]},
        {"algorithms": ["none"]},
        {"max_age": "13h"},
        {"max_age": "1m"},
        {"max_age": "12"},
        {"logout_ends": "nothing"},
        {"prompt": "none"},
        {"label": ""},
        {"groups_claim": ""},
        {"client_secret": "inline"},
    ],
)
def test_what_could_not_be_enforced_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        UpstreamSettings(**{**GOOD, **change})


def test_a_provider_on_this_machine_may_speak_plain_http() -> None:
    assert UpstreamSettings(**{**GOOD, "issuer": "http://127.0.0.1:3000"}).issuer == "http://127.0.0.1:3000"


def test_the_secret_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    found = UpstreamSettings(**GOOD, client_secret_file=file)
    with pytest.raises(OSError, match="No such file"):
        found.secret()
    file.write_text("\n")
    with pytest.raises(ValueError, match="is empty"):
        found.secret()
    file.write_text("s3cret\n")
    assert found.secret() == "s3cret"
    assert "s3cret" not in repr(found)
