"""Metadata is a function of the path: what a stranger asks tells nothing about which sites there are."""

from __future__ import annotations

import pytest

from penstock.names import WHOLE_SITE
from penstock_relay.oauth import metadata
from penstock_relay.oauth.issuer import Issuer, Opens
from penstock_relay.oauth.metadata import (
    Resource,
    any_origin,
    asked,
    challenge,
    protected,
    resource_at,
    resource_of,
)

ORIGIN = "https://mcp.example.com"


PASTED = ("/oslo/files/mcp", "/oslo/files/mcp/", "/oslo/files/sse", "/oslo/files/sse/")
WHOLE = ("/oslo/mcp", "/oslo/mcp/")


@pytest.mark.parametrize("path", [*PASTED, *WHOLE])
def test_the_resource_is_the_url_as_its_user_typed_it(path: str) -> None:
    found = protected(ORIGIN, path)
    assert found is not None
    assert found["resource"] == ORIGIN + path
    assert found["authorization_servers"] == [ORIGIN]
    assert found["scopes_supported"] == ["mcp"]  # never offline_access: that is the server's to offer


@pytest.mark.parametrize("path", ["", "/"])
def test_the_root_form_speaks_for_the_whole_relay(path: str) -> None:
    found = protected(ORIGIN, path)
    assert found is not None
    assert found["resource"] == ORIGIN


@pytest.mark.parametrize(
    "path",
    [
        "/oslo",
        "/oslo/files",
        "/Oslo/files/mcp",
        "/oauth/files/mcp",
        "/oslo/files/mcp/x",
        "/../files/mcp",
        "/oslo/sse",
        "/oauth/files/sse",
        "/oauth/mcp",
        "/console/mcp/",
        "/oslo/mcp//",
        "/oslo/sse/",
        "/Oslo/mcp",
        "/oslo/files/sse/x",
        "/oslo/files/messages",
    ],
)
def test_there_is_no_metadata_for_what_is_no_endpoint(path: str) -> None:
    assert protected(ORIGIN, path) is None


def test_the_challenge_leads_to_the_metadata_of_the_endpoint() -> None:
    said = challenge(ORIGIN, "oslo", "files", ("mcp",))
    assert f'resource_metadata="{ORIGIN}/.well-known/oauth-protected-resource/oslo/files/mcp"' in said
    assert 'scope="mcp"' in said
    said = challenge(ORIGIN, "oslo", "files", ("mcp",), "/sse/")
    assert f'resource_metadata="{ORIGIN}/.well-known/oauth-protected-resource/oslo/files/sse/"' in said
    said = challenge(ORIGIN, "oslo", WHOLE_SITE, ("mcp",), "/mcp/")
    assert f'resource_metadata="{ORIGIN}/.well-known/oauth-protected-resource/oslo/mcp/"' in said


def test_the_server_has_what_the_two_assistants_refuse_to_do_without() -> None:
    found = metadata.authorization_server(ORIGIN)
    assert found["issuer"] == ORIGIN
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert found["authorization_response_iss_parameter_supported"] is True
    assert found["client_id_metadata_document_supported"] is True
    assert "none" in found["token_endpoint_auth_methods_supported"]  # type: ignore[operator]  # a list
    assert "offline_access" in found["scopes_supported"]  # type: ignore[operator]  # a list


@pytest.mark.parametrize(
    ("url", "found"),
    [
        (f"{ORIGIN}/oslo/files/mcp", Resource("oslo", "files")),
        (f"{ORIGIN}/oslo/files/mcp/", Resource("oslo", "files")),
        (f"{ORIGIN}/oslo/files/sse", Resource("oslo", "files")),
        (f"{ORIGIN}/oslo/mcp", Resource("oslo", WHOLE_SITE)),
        (f"{ORIGIN}/oslo/mcp/", Resource("oslo", WHOLE_SITE)),
        (f"{ORIGIN}/oslo/mcp/mcp", Resource("oslo", "mcp")),
        (f"{ORIGIN}/oslo/mcp/sse", Resource("oslo", "mcp")),
        (f"{ORIGIN}/oslo/sse", None),
        (f"{ORIGIN}/oslo/files/messages", None),
        (f"{ORIGIN}.evil.example/oslo/files/mcp", None),
        (f"{ORIGIN}:443/oslo/files/mcp", None),
        ("http://mcp.example.com/oslo/files/mcp", None),
        (f"{ORIGIN}/oslo/files/mcp?x=1", None),
        (f"{ORIGIN}/oslo/files/mcp#x", None),
        (f"{ORIGIN}/oslo/%66iles/mcp", None),
        (ORIGIN, None),
        ("/oslo/files/mcp", None),
    ],
)
def test_a_resource_is_compared_byte_for_byte(url: str, found: Resource | None) -> None:
    assert resource_of(ORIGIN, url) == found


def test_a_slash_at_the_end_is_the_same_endpoint() -> None:
    assert resource_at("/oslo/files/mcp/") == resource_at("/oslo/files/mcp") == Resource("oslo", "files")
    assert Resource("oslo", "files").paths == PASTED
    assert resource_at("/oslo/mcp/") == resource_at("/oslo/mcp") == Resource("oslo", WHOLE_SITE)
    assert Resource("oslo", WHOLE_SITE).paths == WHOLE


def test_in_words_a_server_is_at_its_site_and_a_site_is_all_its_servers() -> None:
    assert Resource("oslo", "files").title == "files at oslo"
    assert Resource("oslo", WHOLE_SITE).title == "all servers of oslo"


def test_only_what_needs_no_cookie_is_open_to_pages_of_other_origins() -> None:
    assert any_origin("/oauth/token")
    assert any_origin("/.well-known/oauth-authorization-server")
    for path in (
        "/oauth/authorize",
        "/oauth/login",
        "/oauth/consent",
        "/oauth/grants",
        "/authorize",
        "/invite/x",
    ):
        assert not any_origin(path)


FIRST = Issuer("https://one.example", (Opens("{site}.{server}", "*", "*"), Opens("mcp", "oslo", "crm")))
SECOND = Issuer("https://two.example/", (Opens("use", "bergen", "*"),), scope_prefix="api://relay/")


@pytest.mark.parametrize("oauth", [True, False])
def test_issuers_outside_stand_behind_our_own_server(oauth: bool) -> None:
    found = protected(ORIGIN, "/oslo/files/mcp", oauth=oauth, issuers=(FIRST, SECOND))
    assert found is not None
    ours = [ORIGIN] if oauth else []
    assert found["authorization_servers"] == [*ours, "https://one.example", "https://two.example/"]
    assert found["scopes_supported"] == [
        *(["mcp"] if oauth else []),
        *[scope for scope in ("oslo.files", "mcp", "api://relay/use") if scope != "mcp" or not oauth],
    ]


def test_metadata_tells_of_no_site_which_of_its_scopes_belong_to_it() -> None:
    """The same at every URL, but for what is read off the URL."""
    for path in ("/oslo/crm/mcp", "/bergen/mail/mcp", "/no/such/mcp"):
        found = protected(ORIGIN, path, oauth=False, issuers=(FIRST, SECOND))
        assert found is not None
        site, server = path.split("/")[1:3]
        assert found["scopes_supported"] == [f"{site}.{server}", "mcp", "api://relay/use"]


def test_the_scopes_to_ask_for_are_those_of_the_server_that_clients_take() -> None:
    assert asked(True, (FIRST,), "oslo", "files") == ("mcp",)
    assert asked(False, (SECOND, FIRST), "oslo", "files") == ("api://relay/use",)
    assert asked(False, (), "oslo", "files") == ()
    # {server} reads as in the configuration, where * stands for all.
    assert asked(False, (FIRST,), "oslo", WHOLE_SITE) == ("oslo.*", "mcp")
