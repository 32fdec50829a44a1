"""Which issuers suit which preset; what tokens look like is in test_issuer.py."""

from __future__ import annotations

import pytest

from penstock_relay.oauth.presets import BadIssuer, Preset, manner

GUID = "11111111-2222-3333-4444-555555555555"


@pytest.mark.parametrize(
    ("preset", "url"),
    [
        ("entra", f"https://login.microsoftonline.com/{GUID}/v2.0"),
        ("entra", f"https://login.microsoftonline.us/{GUID}/v2.0"),
        ("entra", f"https://login.partner.microsoftonline.cn/{GUID}/v2.0"),
        ("okta", "https://acme.okta.com/oauth2/default"),
        ("okta", "https://login.acme.com/oauth2/aus1"),
        ("keycloak", "http://localhost:8080/realms/main"),
        ("auth0", "https://acme.eu.auth0.com/"),
        ("oidc", "https://login.example.com"),
    ],
)
def test_an_issuer_of_the_provider(preset: Preset, url: str) -> None:
    assert manner(preset, url).needs_audience == (preset == "entra")


@pytest.mark.parametrize(
    ("preset", "url", "word"),
    [
        ("entra", "https://login.microsoftonline.com/common/v2.0", "every company"),
        ("entra", "https://login.microsoftonline.com/organizations/v2.0", "every company"),
        ("entra", f"https://login.microsoftonline.com/{GUID}", "v2.0"),
        ("entra", f"https://login.microsoftonline.com/{GUID}/v2.0/", "v2.0"),
        ("entra", f"https://login.microsoftonline.com.evil.example/{GUID}/v2.0", "TENANT-ID"),
        ("entra", f"https://sts.windows.net/{GUID}/", "TENANT-ID"),
        ("okta", "https://acme.okta.com", "custom authorization server"),
        ("keycloak", "https://sso.example.com", "/realms/"),
        ("auth0", "https://acme.eu.auth0.com", "slash"),
    ],
)
def test_an_issuer_that_is_another_is_explained(preset: Preset, url: str, word: str) -> None:
    with pytest.raises(BadIssuer, match=word):
        manner(preset, url)


def test_only_the_public_cloud_has_the_old_name() -> None:
    assert manner("entra", f"https://login.microsoftonline.us/{GUID}/v2.0").aliases == ()
