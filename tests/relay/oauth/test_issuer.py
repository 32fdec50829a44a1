"""What the tokens of each provider say, read from claims as the provider writes them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import jwt
from penstock.jwt import BadToken, Claims
from penstock.names import WHOLE_SITE
from penstock_relay.oauth import issuer, presets
from penstock_relay.oauth.issuer import ANY, Bearer, Issuer, Names, Opens, read
from penstock_relay.oauth.presets import Preset
from tests.harness.signing import NOW

TENANT = "11111111-2222-3333-4444-555555555555"
ENTRA = f"https://login.microsoftonline.com/{TENANT}/v2.0"
OKTA = "https://acme.okta.com/oauth2/default"
KEYCLOAK = "https://sso.example.com/realms/main"
AUTH0 = "https://acme.eu.auth0.com/"
PLAIN = "https://login.example.com"


def trusting(url: str, preset: Preset = "oidc", **more: Any) -> Issuer:
    manner = presets.manner(preset, url)
    usual: dict[str, Any] = {
        "opens": (Opens("mcp", ANY, ANY),),
        "aliases": manner.aliases,
        "names": manner.names,
        "must": manner.must,
    }
    return Issuer(url, **{**usual, **more})


def claims(url: str, **more: Any) -> Claims:
    said = {"iss": url, "sub": "u1", "aud": "relay", "exp": NOW + 600, "iat": NOW, **more}
    return jwt.believe(
        {name: value for name, value in said.items() if value is not None},
        issuer=url, audience="relay", now=NOW, required=("iss", "sub", "aud", "exp"),
    )  # fmt: skip


def bearer(trusted: Issuer, **more: Any) -> Bearer:
    return read(trusted, claims(trusted.url, **more))


def refused(trusted: Issuer, **more: Any) -> str:
    with pytest.raises(BadToken) as caught:
        bearer(trusted, **more)
    return caught.value.reason


# -- the providers


def test_an_entra_v2_token() -> None:
    found = bearer(
        trusting(ENTRA, "entra"), sub="pairwise", oid="o-1", tid=TENANT, ver="2.0", azp="client-guid",
        scp="mcp.files mcp.crm", name="Anna Ek", preferred_username="anna@acme.com", groups=["g1", "g2"],
    )  # fmt: skip
    who = found.principal
    assert (who.issuer, who.subject, who.client) == (ENTRA, "o-1", "client-guid")
    assert (who.name, who.email, who.groups) == ("Anna Ek", "", ("g1", "g2"))
    assert found.scopes == ("mcp.files", "mcp.crm")
    assert not found.overage


def test_an_entra_v1_token_is_the_same_user() -> None:
    trusted = trusting(ENTRA, "entra")
    (v1,) = trusted.aliases
    assert v1 == f"https://sts.windows.net/{TENANT}/"
    found = read(trusted, claims(v1, oid="o-1", tid=TENANT, ver="1.0", appid="client-guid", scp="mcp",
                                 unique_name="anna@acme.com"))  # fmt: skip
    assert (found.principal.issuer, found.principal.subject) == (ENTRA, "o-1")
    assert (found.principal.client, found.principal.name) == ("client-guid", "anna@acme.com")


@pytest.mark.parametrize(
    ("edov", "verified"), [(True, True), ("1", True), (1, True), (False, False), ("0", False), (None, False)]
)
def test_an_entra_address_counts_when_its_domain_is_verified(edov: Any, verified: bool) -> None:
    """Anybody can write an address into a tenant of his own."""
    found = bearer(
        trusting(ENTRA, "entra"), oid="o", tid=TENANT, email="anna@acme.com", xms_edov=edov,
        email_verified=True,
    )  # fmt: skip
    assert found.principal.email == ("anna@acme.com" if verified else "")


def test_an_entra_token_of_another_tenant_is_none_of_ours() -> None:
    assert refused(trusting(ENTRA, "entra"), oid="o", tid="99999999-2222-3333-4444-555555555555") == "claims"
    assert refused(trusting(ENTRA, "entra"), oid="o") == "claims"
    assert refused(trusting(ENTRA, "entra"), tid=TENANT) == "missing"  # nobody: `sub` is another name here


@pytest.mark.parametrize(
    "more",
    [
        {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://g"}}},
        {"hasgroups": True},
    ],
)
def test_entra_says_when_it_left_groups_out(more: dict[str, Any]) -> None:
    found = bearer(trusting(ENTRA, "entra"), oid="o", tid=TENANT, **more)
    assert found.overage
    assert found.principal.groups == ()


def test_an_okta_token() -> None:
    found = bearer(
        trusting(OKTA, "okta"), sub="anna@acme.com", uid="00u1", cid="0oa1", scp=["mcp", "offline_access"],
        groups=["Everyone"], ver=1,
    )  # fmt: skip
    assert (found.principal.subject, found.principal.name) == ("00u1", "anna@acme.com")
    assert (found.principal.client, found.principal.groups) == ("0oa1", ("Everyone",))
    assert found.scopes == ("mcp", "offline_access")


def test_an_okta_service_has_no_uid() -> None:
    assert bearer(trusting(OKTA, "okta"), sub="0oa1", cid="0oa1").principal.subject == "0oa1"


def test_a_keycloak_token() -> None:
    trusted = trusting(KEYCLOAK, "keycloak")
    said: dict[str, Any] = {
        "typ": "Bearer", "azp": "claude", "scope": "openid email mcp", "preferred_username": "anna",
        "email": "anna@acme.com", "email_verified": True, "realm_access": {"roles": ["ops"]},
    }  # fmt: skip
    found = bearer(trusted, **said)
    assert (found.principal.name, found.principal.email) == ("anna", "anna@acme.com")
    assert (found.principal.client, found.principal.groups) == ("claude", ("ops",))
    assert found.scopes == ("openid", "email", "mcp")
    assert bearer(trusted, **said, groups=["/a/b"]).principal.groups == ("/a/b",)
    assert bearer(trusted, **said, groups=[]).principal.groups == ()
    for typ in ("ID", "Refresh", "Offline", None):
        assert refused(trusted, **{**said, "typ": typ}) == "claims"


def test_an_auth0_token() -> None:
    trusted = trusting(AUTH0, "auth0", names=Names(groups=("https://acme.com/groups",), scopes=("scope",)))
    found = bearer(
        trusted, sub="auth0|1", aud=["relay", f"{AUTH0}userinfo"], azp="c", scope="openid mcp",
        **{"https://acme.com/groups": ["ops"]}, groups=["not these"],
    )  # fmt: skip
    assert (found.principal.subject, found.principal.client) == ("auth0|1", "c")
    assert found.principal.groups == ("ops",)


def test_auth0_permissions_are_scopes_where_there_are_no_others() -> None:
    assert bearer(trusting(AUTH0, "auth0"), permissions=["mcp"]).scopes == ("mcp",)
    assert bearer(trusting(AUTH0, "auth0"), scope="", permissions=["mcp"]).scopes == ()


def test_any_other_token() -> None:
    found = bearer(
        trusting(PLAIN), scope="mcp", client_id="c", name="Anna", email="a@b.c", email_verified=True
    )
    assert (found.principal.subject, found.principal.client, found.principal.email) == ("u1", "c", "a@b.c")


@pytest.mark.parametrize("word", [False, None, "yes", "false", 0, 2, [True]])
def test_an_address_that_is_not_verified_is_no_address(word: Any) -> None:
    assert bearer(trusting(PLAIN), email="a@b.c", email_verified=word).principal.email == ""


# -- bounds


def test_a_token_that_is_good_for_more_than_a_day_is_refused() -> None:
    day = 24 * 3600
    assert bearer(trusting(PLAIN), exp=NOW + day).expires == NOW + day
    assert refused(trusting(PLAIN), exp=NOW + day + 1) == "life"
    assert bearer(trusting(PLAIN, max_life_s=2 * day), exp=NOW + day + 1).expires == NOW + day + 1
    assert refused(trusting(PLAIN), iat=None) == "life"


def test_more_groups_than_travel_to_a_site() -> None:
    assert refused(trusting(PLAIN), groups=["g" * 200 + str(number) for number in range(400)]) == "claims"


@pytest.mark.parametrize("client", [7, ["c"], {"c": 1}])
def test_a_client_that_is_no_text(client: Any) -> None:
    assert refused(trusting(PLAIN), client_id=client) == "claims"


# -- scopes

OPENS = Issuer(
    PLAIN,
    (
        Opens("mcp:{site}:{server}", ANY, ANY),
        Opens("files", "oslo", "files"),
        Opens("oslo", "oslo", ANY),
        Opens("mail", ANY, "mail"),
    ),
    scope_prefix="p/",
)


@pytest.mark.parametrize(
    ("scope", "good"),
    [
        ("mcp:oslo:files", {"oslo/files"}),
        ("mcp:oslo:*", set()),
        ("mcp:{site}:{server}", set()),
        ("files", {"oslo/files"}),
        ("oslo", {"oslo/files", "oslo/mail"}),
        ("mail", {"oslo/mail", "bergen/mail"}),
        ("p/mail", set()),
        ("Mail", set()),
        ("", set()),
    ],
)
def test_what_a_scope_opens(scope: str, good: set[str]) -> None:
    servers = [("oslo", "files"), ("oslo", "mail"), ("bergen", "mail"), ("bergen", "files")]
    assert {f"{site}/{server}" for site, server in servers if OPENS.covers((scope,), site, server)} == good


@pytest.mark.parametrize(
    ("scope", "good"),
    [
        ("mcp:oslo:*", {"oslo"}),
        ("mcp:oslo:", set()),
        ("mcp:oslo:files", set()),
        ("oslo", {"oslo"}),
        ("files", set()),
        ("mail", set()),
        ("files mail mcp:oslo:files mcp:oslo:mail", set()),
    ],
)
def test_all_servers_of_a_site_together_take_a_scope_that_opens_all(scope: str, good: set[str]) -> None:
    sites = ["oslo", "bergen"]
    assert {site for site in sites if OPENS.covers(scope.split(), site, WHOLE_SITE)} == good


def test_what_a_client_asks_for_is_the_same_everywhere_but_for_the_url_itself() -> None:
    for site, server in (("oslo", "files"), ("no", "such")):
        assert OPENS.asked(site, server) == (f"p/mcp:{site}:{server}", "p/files", "p/oslo", "p/mail")


@given(st.sets(st.sampled_from(["files", "oslo", "mail", "mcp:oslo:files", "other"])))
def test_there_is_more_to_ask_for_until_a_token_has_all(scopes: set[str]) -> None:
    lacks = OPENS.lacks(tuple(scopes), "oslo", "files")
    assert lacks == (not scopes >= {"files", "oslo", "mail", "mcp:oslo:files"})


def test_the_audience_is_the_url_unless_the_operator_says_otherwise() -> None:
    urls = ("https://relay/a/b/mcp", "https://relay/a/b/mcp/")
    assert trusting(PLAIN).audiences(urls) == urls
    assert trusting(PLAIN, audience=("api://relay",)).audiences(urls) == ("api://relay",)


_said: Any = (
    st.none() | st.booleans() | st.integers(-5, 2**50) | st.text(max_size=9) | st.lists(st.text(max_size=4))
)


@given(
    st.dictionaries(
        st.sampled_from(["email", "email_verified", "groups", "scope", "scp", "azp", "name", "jti"]), _said
    )
)
def test_whatever_an_issuer_says_is_a_user_or_a_bad_token(more: dict[str, Any]) -> None:
    try:
        found = bearer(trusting(PLAIN), **more)
    except BadToken:
        return
    assert found.principal.subject == "u1"
    assert len(found.principal.dump()) > 0
    assert found.issuer.url == PLAIN


def test_the_longest_life_is_a_day() -> None:
    assert issuer.MAX_LIFE_S == 86_400
