"""What an organisation allows: clients by id or host, and lengths of time."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock_relay.oauth import organisation
from penstock_relay.oauth.organisation import Lives, Organisation, bad_pattern, client_allowed
from tests.relay.oauth.visiting import CALLBACK, DOCUMENT, Browser, place, query


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45), ("30m", 1800), ("12h", 43_200), ("180d", 15_552_000)]
)
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert organisation.seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "1", "0d", "-1h", "1w", "1.5h", "1h ", "1H", "1234567d", "1d1h", "\u0661h"]
)
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(ValueError, match="not a length of time"):
        organisation.seconds(text)


BACK = ("https://chatgpt.com/aip/cb",)
LOOPBACK = ("http://127.0.0.1:33418/", "http://localhost/cb")


@pytest.mark.parametrize(
    ("patterns", "client_id", "uris", "allowed"),
    [
        (("claude.ai",), DOCUMENT, (), True),
        (("claude.ai",), DOCUMENT, ("https://elsewhere.example/cb",), True),
        (("chatgpt.com",), DOCUMENT, (CALLBACK,), False),
        (("*.ai",), DOCUMENT, (), True),
        (("*.claude.ai",), DOCUMENT, (), False),
        (("claude.a?",), DOCUMENT, (), False),
        (("claude.[a]i",), DOCUMENT, (), False),
        ((DOCUMENT,), DOCUMENT, (), True),
        ((DOCUMENT,), DOCUMENT + "2", (), False),
        (("claude.ai",), "https://claude.ai.evil.example/x", (), False),
        (("claude.ai",), "https://evil.example/claude.ai", (), False),
        # One that registered itself is where its codes go to.
        (("chatgpt.com",), "dcr-1", BACK, True),
        (("chatgpt.com",), "dcr-1", (*BACK, "https://evil.example/cb"), False),
        (("chatgpt.com",), "dcr-1", (), False),
        (("dcr-1",), "dcr-1", ("https://evil.example/cb",), True),
        (("dcr-*",), "dcr-1", BACK, False),
        (("*",), "dcr-1", BACK, True),
        (("127.0.0.1", "localhost"), "dcr-1", LOOPBACK, True),
        (("localhost",), "dcr-1", LOOPBACK, False),
        ((), DOCUMENT, (CALLBACK,), False),
    ],
)
def test_a_client_is_allowed_by_its_id_or_its_host(
    patterns: tuple[str, ...], client_id: str, uris: tuple[str, ...], allowed: bool
) -> None:
    assert client_allowed(patterns, client_id, uris) is allowed
    assert Organisation(patterns).allows(client_id, uris) is allowed
    assert Organisation().allows(client_id, uris)


@pytest.mark.parametrize("pattern", ["", "a b", "é", "https://*.example/x", "Claude.*", "a" * 2049])
def test_patterns_that_could_fit_nothing(pattern: str) -> None:
    assert bad_pattern(pattern)


@pytest.mark.parametrize("pattern", ["claude.ai", "*.claude.ai", DOCUMENT, "dcr-1", "Pre_Registered"])
def test_patterns_that_could(pattern: str) -> None:
    assert not bad_pattern(pattern)


# -- what they do


async def test_a_client_that_is_not_allowed_is_not_connected(tmp_path: Path) -> None:
    async with place(tmp_path, organisation=Organisation(("chatgpt.com",))) as here:
        page = await Browser(here).open("/oauth/authorize", query())
        assert page.status == 400
        assert b"does not allow this application" in page.body
        other = await here.register(
            token_endpoint_auth_method="none", redirect_uris=["https://chatgpt.com/cb"]
        )
        fine = query(client_id=other["client_id"], redirect_uri="https://chatgpt.com/cb")
        assert (await Browser(here).open("/oauth/authorize", fine)).status == 200


async def test_a_client_that_is_no_longer_allowed_cannot_renew_its_access(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        _, found = await here.redeem(await Browser(here).code(query()))
        directory = here.server._routes["POST", "/oauth/token"].__self__._directory  # type: ignore[attr-defined]
        for patterns, status in ((("chatgpt.com",), 401), (("claude.ai",), 200)):
            directory._organisation = Organisation(patterns)
            assert (await here.refresh(found["refresh_token"]))[0] == status
            here.shelf.documents.clear()  # nor while its document cannot be had


async def test_lives_are_as_set(tmp_path: Path) -> None:
    async with place(tmp_path, organisation=Organisation(lives=Lives(600, 3000, 5000))) as here:
        _, found = await here.redeem(await Browser(here).code(query()))
        assert found["expires_in"] == 600
        (grant,) = await here.store.grants.list()
        assert (grant.idle_at, grant.expires_at) == (here.now + 3000, here.now + 5000)
        here.now += 2999
        _, found = await here.refresh(found["refresh_token"])
        assert found["expires_in"] == 600
        here.now += 1999
        _, found = await here.refresh(found["refresh_token"])
        assert found["expires_in"] == 2
        here.now += 2
        assert (await here.refresh(found["refresh_token"]))[0] == 400


async def test_a_life_that_was_shortened_counts_for_grants_that_there_are(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        _, found = await here.redeem(await Browser(here).code(query()))
        endpoints = here.server._routes["POST", "/oauth/token"].__self__  # type: ignore[attr-defined]
        endpoints._lives = Lives(600, 3000, 5000)
        here.now += 4500
        _, found = await here.refresh(found["refresh_token"])
        assert found["expires_in"] == 500
        here.now += 500
        assert (await here.refresh(found["refresh_token"]))[0] == 400


async def test_a_grant_that_is_older_than_the_new_life_has_ended(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        _, found = await here.redeem(await Browser(here).code(query()))
        here.now += 6000
        endpoints = here.server._routes["POST", "/oauth/token"].__self__  # type: ignore[attr-defined]
        endpoints._lives = Lives(600, 3000, 5000)
        status, answer = await here.refresh(found["refresh_token"])
        assert (status, answer["error"]) == (400, "invalid_grant")
        assert "connect the client again" in answer["error_description"]


async def test_a_client_that_registered_itself_is_where_its_codes_go(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        made = await here.register(token_endpoint_auth_method="none")
        asked = query(client_id=made["client_id"])
        _, found = await here.redeem(await Browser(here).code(asked), client_id=made["client_id"])
        directory = here.server._routes["POST", "/oauth/token"].__self__._directory  # type: ignore[attr-defined]
        directory._organisation = Organisation(("chatgpt.com",))
        assert (await Browser(here).open("/oauth/authorize", asked)).status == 400
        assert (await here.refresh(found["refresh_token"], made["client_id"]))[0] == 401
        directory._organisation = Organisation((made["client_id"],))
        assert (await here.refresh(found["refresh_token"], made["client_id"]))[0] == 200


@pytest.mark.parametrize("later", [True, False])
async def test_tools_that_come_later_can_be_forbidden(tmp_path: Path, later: bool) -> None:
    async with place(tmp_path, organisation=Organisation(later_tools=later)) as here:
        browser = Browser(here)
        await browser.open("/oauth/authorize", query())
        page = await browser.log_in()
        assert (b'name="later"' in page.body) is later
