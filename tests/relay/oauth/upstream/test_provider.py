"""What a provider says of itself: believed when it is that provider, kept for a while, fetched once."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from penstock.jwks import FetchError
from penstock_relay.oauth.upstream import provider
from penstock_relay.oauth.upstream.provider import FRESH_S, RETRY_S, STALE_S, Provider, ProviderUnavailable
from tests.harness import signing

ISSUER = "https://sso.example/realms/main"
GOOD: dict[str, Any] = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/auth?x=1",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": f"{ISSUER}/keys",
}


class Documents:
    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[str] = []
        self.metadata: dict[str, Any] | None = dict(GOOD)
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self, url: str, /) -> bytes:
        self.asked.append(url)
        await self.may_answer.wait()
        if url.endswith("/keys"):
            return signing.key_set("rsa")
        if self.metadata is None:
            raise FetchError("it did not answer in time")
        return json.dumps(self.metadata).encode()

    def provider(self) -> Provider:
        return Provider(ISSUER, self, ticks=lambda: self.now)


async def test_it_is_fetched_where_its_name_says_and_kept_for_an_hour() -> None:
    there = Documents()
    found = there.provider()
    first = await found.metadata()
    assert there.asked == [f"{ISSUER}/.well-known/openid-configuration"]
    assert (first.authorization_endpoint, first.userinfo_endpoint) == (f"{ISSUER}/auth?x=1", None)
    assert (first.names_itself, first.basic) == (False, True)
    there.now = FRESH_S - 1
    assert await found.metadata() is first
    assert len(there.asked) == 1
    there.now = FRESH_S
    there.metadata = {**GOOD, "authorization_response_iss_parameter_supported": True}
    assert (await found.metadata()).names_itself
    assert len(there.asked) == 2


async def test_many_who_ask_at_once_cause_one_fetch() -> None:
    there = Documents()
    there.may_answer.clear()
    found = there.provider()
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(found.metadata()) for _ in range(20)]
        await asyncio.sleep(0)
        there.may_answer.set()
    assert len({id(task.result()) for task in waiting}) == 1
    assert len(there.asked) == 1


async def test_what_it_said_last_is_used_for_a_day_while_it_is_silent() -> None:
    there = Documents()
    found = there.provider()
    first = await found.metadata()
    there.metadata = None
    there.now = FRESH_S
    assert await found.metadata() is first
    assert await found.metadata() is first  # nobody waits for a second try right away
    assert len(there.asked) == 2
    there.now += RETRY_S
    assert await found.metadata() is first
    assert len(there.asked) == 3
    there.now = STALE_S
    with pytest.raises(ProviderUnavailable):
        await found.metadata()


async def test_one_that_was_never_heard_of_is_unavailable() -> None:
    there = Documents()
    there.metadata = None
    found = there.provider()
    for _ in range(3):
        with pytest.raises(ProviderUnavailable):
            await found.metadata()
    assert len(there.asked) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://sso.example"},
        {"issuer": ISSUER + "/"},
        {"issuer": None},
        {"authorization_endpoint": None},
        {"authorization_endpoint": "http://sso.example/auth"},
        {"token_endpoint": "https://user@sso.example/token"},
        {"jwks_uri": ["https://sso.example/keys"]},
        {"userinfo_endpoint": "ftp://sso.example"},
    ],
)
def test_metadata_that_cannot_be_used(change: dict[str, Any]) -> None:
    with pytest.raises(FetchError):
        provider.parse(ISSUER, json.dumps({**GOOD, **change}).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"issuer": 1, "issuer": 2}', b"\xff"])
def test_what_is_no_metadata(data: bytes) -> None:
    with pytest.raises(FetchError):
        provider.parse(ISSUER, data)


@pytest.mark.parametrize(
    ("methods", "basic"),
    [
        (["client_secret_basic"], True),
        (["client_secret_post", "client_secret_basic"], True),
        (["client_secret_post"], False),
        (["none"], False),
        (None, True),
    ],
)
def test_how_the_secret_is_sent(methods: list[str] | None, basic: bool) -> None:
    found = provider.parse(
        ISSUER, json.dumps({**GOOD, "token_endpoint_auth_methods_supported": methods}).encode()
    )
    assert found.basic is basic


async def test_keys_are_those_that_the_metadata_names() -> None:
    there = Documents()
    found = there.provider()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(found.run())
        assert (await found.keys("rsa")).holds("rsa")
        assert there.asked[-1] == f"{ISSUER}/keys"
        there.metadata, there.now = None, STALE_S
        with pytest.raises(ProviderUnavailable):
            await found.keys("rsa")
        running.cancel()
