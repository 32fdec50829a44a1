"""ChatGPT and Claude, as their makers describe them, are connected by a person who consents."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.harness.assistants import Assistant, ChatGPT, Claude, ClaudeCode, Entered, Refused
from tests.harness.internet import (
    CALLBACK_ID,
    CHATGPT_CALLBACK,
    CHATGPT_OWN_CALLBACK,
    CLAUDE_CALLBACK,
    ORIGIN,
)
from tests.harness.town import Town

pytestmark = pytest.mark.e2e

DISCOVERY_S = 10.0
"""Claude gives up on a server whose discovery and registration take longer."""
OWN_CALLBACK = CHATGPT_OWN_CALLBACK.format(callback_id=CALLBACK_ID)

Make = Callable[[str, httpx2.AsyncBaseTransport], Assistant]

KINDS: dict[str, tuple[Make, str, str]] = {
    # product and way -> (how it is made, its client_id or what that begins with, where it has users sent)
    "chatgpt, document": (ChatGPT, "https://chatgpt.com/oauth/client.json", CHATGPT_CALLBACK),
    "chatgpt, document of the connection": (
        lambda url, net: ChatGPT(url, net, knows_iss=False),
        f"https://chatgpt.com/oauth/{CALLBACK_ID}/client.json",
        OWN_CALLBACK,
    ),
    "chatgpt, registered": (lambda url, net: ChatGPT(url, net, documents=False), "dcr-", CHATGPT_CALLBACK),
    "chatgpt, registered, callback of the connection": (
        lambda url, net: ChatGPT(url, net, documents=False, knows_iss=False),
        "dcr-",
        OWN_CALLBACK,
    ),
    "claude, document": (Claude, "https://claude.ai/oauth/mcp-oauth-client-metadata", CLAUDE_CALLBACK),
    "claude, registered": (lambda url, net: Claude(url, net, documents=False), "dcr-", CLAUDE_CALLBACK),
    "claude code, document": (
        ClaudeCode,
        "https://claude.ai/oauth/claude-code-client-metadata",
        "http://localhost:61234/callback",
    ),
}
WATER: dict[str, object] = {"name": "echo", "arguments": {"say": "water"}}
DISCOVERED = ["probe", "protected resource", "authorization server"]


async def connected(town: Town, assistant: Assistant, name: str = "alice") -> None:
    """A person connects the assistant."""
    async with town.person(name) as person:
        await assistant.come_back(await person.allow(await assistant.connect()))


async def called_for_ever(assistant: Assistant) -> None:
    """Raises Refused when it is disconnected, TimeoutError when that takes more than 5 s."""
    async with asyncio.timeout(5):
        while True:
            try:
                await assistant.call("tools/list")
            except Refused as refused:
                # What runs at the very moment may have run, and is said to. The next request is refused.
                if "504" not in str(refused):
                    raise


def text(message: dict[str, Any]) -> str:
    return "".join(part.get("text", "") for part in message["result"]["content"])


@pytest.mark.parametrize("kind", KINDS)
async def test_an_assistant_that_knows_only_a_url_is_connected(town: Town, kind: str) -> None:
    make, client_id, redirect_uri = KINDS[kind]
    async with asyncio.timeout(60), make(town.url(), town.internet.transport()) as assistant:
        async with town.person("alice") as person:
            begun = time.monotonic()
            link = await assistant.connect()
            assert time.monotonic() - begun < DISCOVERY_S
            callback = await person.allow(link)
        assert callback.startswith(redirect_uri + "?")
        await assistant.come_back(callback)
        registered = ["register"] if client_id == "dcr-" else []
        assert [step.what for step in assistant.steps] == [*DISCOVERED, *registered, "authorize", "redeem"]
        asked = {step.what: step.form for step in assistant.steps}
        assert asked["authorize"]["resource"] == asked["redeem"]["resource"] == town.url()
        assert asked["authorize"]["scope"] == "mcp offline_access"
        assert asked["authorize"]["redirect_uri"] == redirect_uri
        assert assistant.client_id.startswith(client_id)
        if not registered:
            assert client_id in town.internet.asked
        assert "result" in await assistant.begin()
        listed = await assistant.call("tools/list")
        assert "echo" in [tool["name"] for tool in listed["result"]["tools"]]
        assert "water" in text(await assistant.call("tools/call", **WATER))


@pytest.mark.parametrize("make", [ChatGPT, Claude])
async def test_the_resource_is_the_url_exactly_as_the_person_typed_it(town: Town, make: Make) -> None:
    typed = town.url() + "/"
    async with asyncio.timeout(60), make(typed, town.internet.transport()) as assistant:
        await connected(town, assistant)
        forms = [step.form["resource"] for step in assistant.steps if "resource" in step.form]
        assert forms == [typed, typed]
        await assistant.begin()
        assert "water" in text(await assistant.call("tools/call", **WATER))


@pytest.mark.parametrize("make", [ChatGPT, Claude])
async def test_an_assistant_refreshes_before_the_end_and_when_it_is_told_401(town: Town, make: Make) -> None:
    async with asyncio.timeout(60), make(town.url(), town.internet.transport()) as assistant:
        await connected(town, assistant)
        await assistant.begin()
        first = dict(assistant.tokens)
        assistant.now += 3600 - 299  # five minutes before the end
        await assistant.call("tools/list")
        second = dict(assistant.tokens)
        assert [step.what for step in assistant.steps].count("refresh") == 1
        assert not set(first.values()) & {second["access_token"], second["refresh_token"]}
        assistant.tokens["access_token"] = first["access_token"][:-1] + "x"
        await assistant.call("tools/list")
        assert [step.status for step in assistant.steps if step.what == "tools/list"][-2:] == [401, 200]
        assert [step.what for step in assistant.steps].count("refresh") == 2
        assert assistant.steps[-2].form["resource"] == town.url()


@pytest.mark.parametrize("make", [ChatGPT, Claude])
async def test_an_assistant_that_is_disconnected_is_told_so_in_the_words_it_knows(
    town: Town, make: Make
) -> None:
    async with asyncio.timeout(60), make(town.url(), town.internet.transport()) as assistant:
        await connected(town, assistant, "dora")
        await assistant.begin()
        async with town.person("dora") as person:
            await person.disconnect_all()
        with pytest.raises(Refused, match="invalid_grant"):
            await called_for_ever(assistant)
        if isinstance(assistant, ChatGPT):
            assert await assistant.idle_stream() == 401
        # The person connects it again, and all is well.
        await connected(town, assistant, "dora")
        assert "result" in await assistant.begin()


async def test_every_connection_registers_anew_and_the_older_ones_live_on(town: Town) -> None:
    made = [Claude(town.url(), town.internet.transport(), documents=False) for _ in range(2)]
    async with asyncio.timeout(60), made[0] as first, made[1] as second:
        for assistant in (first, second):
            await connected(town, assistant)
        assert first.client_id != second.client_id
        assert (first.auth_method, second.auth_method) == ("client_secret_post", "client_secret_post")
        for assistant in (first, second):
            assert "result" in await assistant.begin()


@pytest.mark.parametrize("method", ["none", "client_secret_post"])
@pytest.mark.parametrize(("make", "callback"), [(ChatGPT, CHATGPT_CALLBACK), (Claude, CLAUDE_CALLBACK)])
async def test_a_client_that_a_person_typed_in_is_connected(
    town: Town, make: type[ChatGPT] | type[Claude], callback: str, method: str
) -> None:
    # PRE-REGISTERED CLIENTS: where an operator can make one (`penstock-relay client add …`), make it here
    # instead, with `client_secret_basic` and `private_key_jwt` as further values of `method`.
    async with httpx2.AsyncClient(transport=town.internet.transport()) as http:
        asked = {"redirect_uris": [callback], "client_name": "Typed", "token_endpoint_auth_method": method}
        found = (await http.post(f"{ORIGIN}/oauth/register", json=asked)).json()
    entered = Entered(found["client_id"], found.get("client_secret"))
    net = town.internet.transport()
    async with asyncio.timeout(60), make(town.url(), net, entered=entered) as assistant:
        await connected(town, assistant)
        assert "register" not in [step.what for step in assistant.steps]
        assert assistant.auth_method == method
        assert "result" in await assistant.begin()


async def test_claude_finds_its_way_where_it_ignores_the_metadata(town: Town) -> None:
    """A known bug: it asks /register, /authorize and /token of the MCP host."""
    async with asyncio.timeout(60), Claude(town.url(), town.internet.transport(), documents=False) as claude:
        await claude.connect()
        claude.ignore_metadata()
        async with town.person("alice") as person:
            await claude.come_back(await person.allow(await claude.connect_again()))
        assert [step.url for step in claude.steps[-3:]] == [
            f"{ORIGIN}/register", f"{ORIGIN}/authorize", f"{ORIGIN}/token",
        ]  # fmt: skip
        assert "result" in await claude.begin()


@pytest.mark.parametrize("make", [ChatGPT, Claude])
async def test_an_assistant_is_told_when_its_person_says_no(town: Town, make: Make) -> None:
    async with asyncio.timeout(60), make(town.url(), town.internet.transport()) as assistant:
        async with town.person("alice") as person:
            left = await person.deny(await assistant.connect())
        with pytest.raises(Refused, match="access_denied"):
            await assistant.come_back(left)
        # Proven like every answer: without it, or with that of another, it would not be believed.
        assert "iss=https%3A%2F%2Fmcp.penstock.example" in left


async def test_chatgpt_asks_for_resources_that_nobody_announced_and_goes_on(town: Town) -> None:
    async with asyncio.timeout(60), ChatGPT(town.url(), town.internet.transport()) as assistant:
        await connected(town, assistant)
        await assistant.begin()
        assert (await assistant.call("resources/list"))["error"]["code"] == -32601
        assert "result" in await assistant.call("tools/list")


async def test_a_token_for_one_server_is_none_at_another(town: Town) -> None:
    async with asyncio.timeout(60), Claude(town.url(), town.internet.transport()) as assistant:
        await connected(town, assistant)
        assistant.url = town.url("more")
        connecting = len(assistant.steps)
        with pytest.raises(Refused, match="401"):
            await assistant.call("initialize")
        assert "refresh" in [step.what for step in assistant.steps[connecting:]]
