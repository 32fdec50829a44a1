"""Opaque tokens: who is asked, how often, and which answers are believed. The clock is an argument."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from penstock.jwks import FetchError
from penstock.jwt import BadToken
from penstock_relay.oauth.introspection import (
    KEPT_S,
    MAX_ASKING,
    MAX_KEPT,
    Endpoint,
    IntrospectionUnavailable,
    Introspector,
)

BOTH_LOOPS = True
ENDPOINT = Endpoint("https://issuer.example/introspect", "relay", "secret")
ACTIVE = {"active": True, "sub": "anna", "aud": "relay", "scope": "mcp"}


@dataclass
class Server:
    answer: Any = field(default_factory=lambda: dict(ACTIVE))
    asked: list[str] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    now: float = 5000.5

    def __post_init__(self) -> None:
        self.open.set()
        self.introspector = Introspector(
            self.post, ENDPOINT, "https://issuer.example", ticks=lambda: self.now, clock=lambda: self.now
        )

    async def post(self, url: str, fields: dict[str, str], client_id: str, secret: str, /) -> bytes:
        assert (url, client_id, secret) == (ENDPOINT.url, "relay", "secret")
        assert fields["token_type_hint"] == "access_token"
        self.asked.append(fields["token"])
        await self.open.wait()
        if self.answer is None:
            raise FetchError("it is away")
        return self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode()

    async def claims(self, token: str = "opaque") -> dict[str, Any]:
        return await self.introspector.claims(token)


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_an_active_token_has_claims() -> None:
    found = await Server().claims()
    assert found["sub"] == "anna"
    assert (found["iss"], found["iat"], found["exp"]) == ("https://issuer.example", 5000, 5030)


async def test_what_the_issuer_says_itself_goes_first() -> None:
    found = await Server({**ACTIVE, "iss": "https://other.example", "exp": 5010, "iat": 4000}).claims()
    assert (found["iss"], found["exp"], found["iat"]) == ("https://other.example", 5010, 4000)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"active": False}, "inactive"),
        ({**ACTIVE, "active": False}, "inactive"),
        ({**ACTIVE, "token_type": "refresh_token"}, "type"),
        ({**ACTIVE, "typ": "Refresh"}, "type"),
        ({**ACTIVE, "typ": "ID"}, "type"),
        ({**ACTIVE, "token_type": 7}, "type"),
        ({**ACTIVE, "token_type": "DPoP"}, "type"),
    ],
)
async def test_what_is_no_active_access_token(answer: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadToken) as caught:
        await Server(answer).claims()
    assert caught.value.reason == reason


@pytest.mark.parametrize("kind", [{"token_type": "Bearer"}, {"token_type": "bearer"}, {"typ": "Bearer"}])
async def test_what_is_one(kind: dict[str, str]) -> None:
    assert (await Server({**ACTIVE, **kind}).claims())["sub"] == "anna"


@pytest.mark.parametrize(
    "answer",
    [None, b"", b"[]", b"null", b"{}", {"active": "true"}, {"active": 1}, b'{"active":false,"active":true}'],
)
async def test_what_is_no_answer_says_nothing_of_the_token(answer: Any) -> None:
    server = Server(answer)
    for _ in range(2):
        with pytest.raises(IntrospectionUnavailable):
            await server.claims()
    assert len(server.asked) == 2  # and is not kept


@pytest.mark.parametrize("active", [True, False])
async def test_an_answer_is_kept_for_half_a_minute_from_the_question_on(active: bool) -> None:
    server = Server({**ACTIVE, "active": active})

    async def ask() -> None:
        if active:
            await server.claims()
        else:
            with pytest.raises(BadToken):
                await server.claims()

    await ask()
    server.now += KEPT_S - 0.1
    await ask()
    assert len(server.asked) == 1
    server.now += 0.1
    await ask()
    assert len(server.asked) == 2


async def test_many_who_ask_at_once_are_one_question() -> None:
    server = Server()
    server.open.clear()
    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(server.claims()) for _ in range(30)]
        await settled()
        server.open.set()
    assert {task.result()["sub"] for task in asking} == {"anna"}
    assert server.asked == ["opaque"]


async def test_when_the_one_who_asks_goes_away_the_next_one_asks() -> None:
    server = Server()
    server.open.clear()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(server.claims())
        await settled()
        second = tasks.create_task(server.claims())
        await settled()
        first.cancel()
        await settled()
        server.open.set()
    assert second.result()["sub"] == "anna"
    assert len(server.asked) == 2


async def test_those_who_wait_hear_of_a_failure() -> None:
    server = Server(None)
    server.open.clear()
    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(asyncio.wait_for(refusal(server), 60)) for _ in range(3)]
        await settled()
        server.open.set()
    assert all(task.done() for task in asking)
    assert len(server.asked) == 1


async def refusal(server: Server, token: str = "opaque") -> None:
    with pytest.raises(IntrospectionUnavailable):
        await server.claims(token)


async def test_only_so_many_questions_are_under_way() -> None:
    server = Server()
    server.open.clear()
    async with asyncio.TaskGroup() as tasks:
        for number in range(MAX_ASKING):
            tasks.create_task(server.claims(str(number)))
        await settled()
        await refusal(server)
        server.open.set()
    assert len(server.asked) == MAX_ASKING


async def test_the_oldest_answer_makes_room() -> None:
    server = Server()
    for number in range(MAX_KEPT + 1):
        await server.claims(str(number))
    await server.claims(str(MAX_KEPT))
    assert len(server.asked) == MAX_KEPT + 1
    await server.claims("0")
    assert len(server.asked) == MAX_KEPT + 2


def test_the_secret_is_not_shown() -> None:
    assert "secret" not in repr(ENDPOINT).replace("client_secret", "")
