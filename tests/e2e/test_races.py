"""A hundred at once with what is good once, through the real listeners: one wins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import httpx2
import pytest

from penstock.joinstring import JoinString
from penstock_agent.enrolment.enrol import EnrolError, enrol
from tests.harness.assistants import Claude
from tests.harness.internet import RELAY
from tests.harness.town import Town

pytestmark = pytest.mark.e2e

MANY: Final = 100


@asynccontextmanager
async def callers(town: Town) -> AsyncIterator[list[httpx2.AsyncClient]]:
    """A hundred of them at the relay's own public listener, each with an address of its own, connected."""
    address = town.stack.relay.env["PENSTOCK_RELAY_LISTEN"]
    made = [
        httpx2.AsyncClient(
            base_url=f"http://{address}",
            headers={"Host": RELAY},
            transport=httpx2.AsyncHTTPTransport(verify=False, local_address=f"127.2.0.{number + 1}"),
            timeout=60,
        )
        for number in range(MANY)
    ]
    async with AsyncExitStack() as opened:
        for caller in made:
            await opened.enter_async_context(caller)
        async with asyncio.TaskGroup() as tasks:
            # The connections first, so that the forms arrive together.
            for caller in made:
                tasks.create_task(caller.get("/.well-known/oauth-authorization-server"))
        yield made


async def at_once(made: list[httpx2.AsyncClient], form: dict[str, str]) -> list[tuple[int, dict[str, Any]]]:
    """The same form from each of them."""
    async with asyncio.TaskGroup() as tasks:
        posted = [tasks.create_task(caller.post("/oauth/token", data=form)) for caller in made]
    answers = [task.result() for task in posted]
    return [(answer.status_code, answer.json()) for answer in answers]


async def test_of_100_redemptions_of_one_code_one_wins(town: Town) -> None:
    async with asyncio.timeout(60), Claude(town.url(), town.internet.transport()) as claude:
        async with town.person("alice") as person:
            callback = await person.allow(await claude.connect())
        form = claude.redemption(callback)
        async with callers(town) as made:
            answers = await at_once(made, {**form, "client_id": claude.client_id})
            won = [found for status, found in answers if status == 200]
            assert len(won) == 1
            # Somebody else had the code, too: what it won is worth nothing.
            mine = {"grant_type": "refresh_token", "client_id": claude.client_id}
            mine["refresh_token"] = won[0]["refresh_token"]
            again = await made[0].post("/oauth/token", data=mine)
    assert {(status, found["error"]) for status, found in answers if status != 200} == {
        (400, "invalid_grant")
    }
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


async def test_of_100_refreshes_with_one_token_one_line_lives_on(town: Town) -> None:
    """Within the grace several may be answered, since an answer may be lost; one line of them goes on."""
    async with asyncio.timeout(90), Claude(town.url(), town.internet.transport()) as claude:
        async with town.person("alice") as person:
            await claude.come_back(await person.allow(await claude.connect()))
        form = {"grant_type": "refresh_token", "client_id": claude.client_id}
        async with callers(town) as made:
            answers = await at_once(made, {**form, "refresh_token": claude.tokens["refresh_token"]})
            won = {found["refresh_token"] for status, found in answers if status == 200}
            assert won
            lived = 0
            for token in won:
                answer = await made[0].post("/oauth/token", data={**form, "refresh_token": token})
                lived += answer.status_code == 200
    assert lived <= 1


async def test_of_100_agents_with_one_join_string_one_joins(town: Town) -> None:
    invitation = JoinString.parse(town.stack.relay_cli("agent", "invite", town.stack.site).stdout.strip())

    async def join() -> str:
        try:
            return (await enrol(invitation, None)).id.agent
        except EnrolError as error:
            return str(error)

    async with asyncio.timeout(90), asyncio.TaskGroup() as tasks:
        joining = [tasks.create_task(join()) for _ in range(MANY)]
    said = [task.result() for task in joining]
    refused = [text for text in said if "This join string has been used already" in text]
    assert len(refused) == MANY - 1, set(said)
