"""Tokens of issuers outside: believed by the issuer that they name, and nobody is asked for any other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from penstock.jwks import FetchError
from penstock_relay.oauth.introspection import Endpoint
from penstock_relay.oauth.issuer import ANY, Issuer, Opens
from penstock_relay.oauth.issuers import QUIET_S, Issuers, IssuerUnavailable
from penstock_relay.oauth.trusted import Trusted
from tests.harness.signing import AUDIENCE, ISSUER, NOW, key_set, token

OTHER: Final = "https://other.example/realms/a"
URLS: Final = (AUDIENCE, AUDIENCE + "/")
ENDPOINT: Final = Endpoint("https://issuer.example/introspect", "relay", "secret")


class Web(Trusted):
    """Two issuers on a web without a network."""

    def __init__(self) -> None:
        super().__init__()
        self.pages: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.answer: dict[str, Any] = {"active": False}
        for url, keys in ((ISSUER, key_set("rsa", "ec")), (OTHER, key_set("ed"))):
            self.pages[f"{url}/.well-known/openid-configuration"] = json.dumps(
                {"issuer": url, "jwks_uri": f"{url}/jwks"}
            ).encode()
            self.pages[f"{url}/jwks"] = keys

    async def get(self, url: str, /) -> bytes:
        self.asked.append(url)
        if url not in self.pages:
            raise FetchError("it is away")
        return self.pages[url]

    async def post(self, url: str, fields: Any, client_id: str, secret: str) -> bytes:
        self.asked.append(url)
        return json.dumps(self.answer).encode()


@dataclass
class Trust:
    web: Web = field(default_factory=Web)
    now: float = float(NOW)

    @asynccontextmanager
    async def issuers(self, *, opaque: bool = False, **more: Any) -> AsyncIterator[Issuers]:
        opens = (Opens("mcp", ANY, ANY),)
        made = Issuers(
            (Issuer(ISSUER, opens, ("https://old.example/",), **more),
             Issuer(OTHER, opens, algorithms=("Ed25519",))),
            introspection={ISSUER: ENDPOINT} if opaque else {},
            trusted=self.web, clock=lambda: self.now, ticks=lambda: self.now,
        )  # fmt: skip
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(made.run())
            yield made
            running.cancel()


@pytest.fixture
def trust() -> Trust:
    return Trust()


async def test_a_good_token_names_its_user(trust: Trust) -> None:
    async with trust.issuers() as issuers:
        found = await issuers.bearer(token(scope="mcp", email="a@b.c", email_verified=True, azp="c"), URLS)
        assert found is not None
        assert (found.principal.issuer, found.principal.subject) == (ISSUER, "anna")
        assert (found.principal.email, found.principal.client, found.scopes) == ("a@b.c", "c", ("mcp",))
        assert found.expires == NOW + 600
        assert await issuers.bearer(token(), URLS)
    assert trust.web.asked == [f"{ISSUER}/.well-known/openid-configuration", f"{ISSUER}/jwks"]


async def test_each_issuer_speaks_for_itself(trust: Trust) -> None:
    async with trust.issuers() as issuers:
        found = await issuers.bearer(token("ed", iss=OTHER), URLS)
        assert found is not None
        assert found.issuer.url == OTHER
        # the key of one issuer signs nothing for another
        assert await issuers.bearer(token("ed", iss=ISSUER), URLS) is None
        assert await issuers.bearer(token("rsa", iss=OTHER), URLS) is None


async def test_an_older_name_of_an_issuer_is_the_same_issuer(trust: Trust) -> None:
    async with trust.issuers() as issuers:
        found = await issuers.bearer(token(iss="https://old.example/"), URLS)
        assert found is not None
        assert found.principal.issuer == ISSUER


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(token(iss="https://evil.example"), id="another issuer"),
        pytest.param(token(iss=ISSUER + "/"), id="a slash more"),
        pytest.param(token(iss=None), id="no issuer"),
        pytest.param(token(iss=7), id="a number"),
        pytest.param(token(iss=""), id="an empty issuer"),
        pytest.param("opaque", id="opaque"),
        pytest.param("", id="empty"),
        pytest.param("a.b", id="two parts"),
        pytest.param("a.b.c", id="three parts"),
        pytest.param("pst_nonsense", id="one of ours"),
        pytest.param(token(header={"alg": "ES384"}), id="another algorithm"),
        pytest.param(token(header={"jku": "https://evil.example"}), id="a URL of keys"),
        pytest.param("x" * 9000, id="very long"),
    ],
)
async def test_no_stranger_makes_the_relay_ask_anybody(text: str, trust: Trust) -> None:
    async with trust.issuers() as issuers:
        assert await issuers.bearer(text, URLS) is None
    assert trust.web.asked == []


async def test_a_token_for_another_url_is_none_for_this(trust: Trust) -> None:
    async with trust.issuers() as issuers:
        assert await issuers.bearer(token(), ("https://relay.example/home/crm/mcp",)) is None
        assert await issuers.bearer(token(aud=AUDIENCE + "/"), URLS)


async def test_the_audience_of_the_configuration_takes_the_place_of_the_url(trust: Trust) -> None:
    async with trust.issuers(audience=("api://relay",)) as issuers:
        assert await issuers.bearer(token(aud="api://relay"), URLS)
        assert await issuers.bearer(token(), URLS) is None


async def test_a_token_is_good_until_its_end(trust: Trust) -> None:
    async with trust.issuers() as issuers:
        text = token()
        trust.now += 629
        assert await issuers.bearer(text, URLS)
        trust.now += 1
        assert await issuers.bearer(text, URLS) is None


async def test_a_new_key_is_found(trust: Trust) -> None:
    async with trust.issuers() as issuers:
        assert await issuers.bearer(token(), URLS)
        trust.web.pages[f"{ISSUER}/jwks"] = key_set("rsa-2")
        trust.now += 31
        assert await issuers.bearer(token("rsa-2"), URLS)
        assert await issuers.bearer(token(), URLS) is None


async def test_an_issuer_that_is_away_is_no_verdict(trust: Trust) -> None:
    trust.web.pages.clear()
    async with trust.issuers() as issuers:
        with pytest.raises(IssuerUnavailable):
            await issuers.bearer(token(), URLS)


async def test_metadata_of_another_name_is_no_verdict_either(trust: Trust) -> None:
    trust.web.pages[f"{ISSUER}/.well-known/openid-configuration"] = json.dumps(
        {"issuer": "https://evil.example", "jwks_uri": f"{ISSUER}/jwks"}
    ).encode()
    async with trust.issuers() as issuers:
        with pytest.raises(IssuerUnavailable):
            await issuers.bearer(token(), URLS)


async def test_an_opaque_token_is_asked_for(trust: Trust) -> None:
    trust.web.answer = {"active": True, "sub": "anna", "aud": [AUDIENCE], "scope": "mcp", "client_id": "c"}
    async with trust.issuers(opaque=True) as issuers:
        found = await issuers.bearer("opaque", URLS)
        assert found is not None
        assert (found.principal.subject, found.principal.client, found.scopes) == ("anna", "c", ("mcp",))
        assert found.expires == NOW + 30
    assert trust.web.asked == [ENDPOINT.url]


@pytest.mark.parametrize(
    "more",
    [
        {"active": False},
        {"aud": "another"},
        {"aud": None},
        {"sub": None},
        {"iss": OTHER},
        {"exp": NOW - 31},
        {"exp": NOW + 90_000, "iat": NOW},
        {"token_type": "refresh_token"},
    ],
    ids=str,
)
async def test_an_opaque_token_is_judged_like_any_other(more: dict[str, Any], trust: Trust) -> None:
    good = {"active": True, "sub": "anna", "aud": AUDIENCE, "scope": "mcp"}
    trust.web.answer = {name: value for name, value in {**good, **more}.items() if value is not None}
    async with trust.issuers(opaque=True) as issuers:
        assert await issuers.bearer("opaque", URLS) is None


async def test_trouble_is_logged_once_in_a_while_in_a_word_and_without_the_token(trust: Trust) -> None:
    text = token(aud="https://secret.example", sub="private")
    with capture_logs() as lines:
        async with trust.issuers() as issuers:
            for _ in range(10):
                await issuers.bearer(text, URLS)
                await issuers.bearer(token(iss="https://evil.example"), URLS)
            trust.now += QUIET_S
            await issuers.bearer(text, URLS)
            await issuers.bearer(token(typ=None, iat=None), URLS)
    assert [(line["event"], line["reason"]) for line in lines] == [
        ("token_of_issuer_refused", "audience"),
        ("token_of_issuer_refused", "audience"),
        ("token_of_issuer_refused", "missing"),
    ]
    assert {line["issuer"] for line in lines} == {ISSUER}
    for word in ("secret", "private", "evil", text[-20:]):
        assert word not in repr(lines)


async def test_groups_that_were_left_out_are_logged(trust: Trust) -> None:
    with capture_logs() as lines:
        async with trust.issuers() as issuers:
            assert await issuers.bearer(token(hasgroups=True), URLS)
    assert [line["event"] for line in lines] == ["issuer_left_groups_out"]
