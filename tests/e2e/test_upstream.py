"""The company's own identity provider, a real one: logins through it, refreshes under it, logouts at it."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from urllib.parse import urlencode

import httpx2
import pytest

from tests.harness.company import Company, Employee, company, free_origin
from tests.harness.person import answered
from tests.harness.stack import Server, Stack
from tests.relay.oauth.visiting import CHALLENGE, VERIFIER

pytestmark = pytest.mark.e2e

BIN = Path(sys.executable).parent
BACK = "http://127.0.0.1:9/callback"
HELLO = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"},
    },
}  # fmt: skip
ACCEPT = {"Accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    with company(tmp_path_factory.mktemp("company")) as found:
        yield found


@pytest.fixture(scope="module")
def stack(there: Company) -> Iterator[Stack]:
    origin = free_origin()
    settings = there.settings(
        origin, scopes=["openid", "email", "profile", "offline_access"], prompt="consent", label="Example Ltd"
    )
    settings |= {"PENSTOCK_RELAY_LOCAL_ACCOUNTS": "false", "PENSTOCK_RELAY_ADMIN_GROUPS": '["ops"]'}
    server = Server((str(BIN / "mcp-server-time"),), ("*",))
    with Stack({"time": server, "safe": server}, relay_env=settings) as stack:
        believe_only(there, stack)
        stack.relay_cli("access", "add", "--group", "staff", "--site", stack.site)
        yield stack


def believe_only(there: Company, stack: Stack) -> None:
    """The site takes nobody's word but the company's about who may use its server safe."""
    config = stack.agent.config
    text = config.read_text().replace("[servers.safe]\n", '[servers.safe]\ntrust = "caller"\n')
    table = f'issuer = "{there.issuer}"\naudience = "penstock"\nkeys_url = "{there.issuer}/jwks"\n'
    config.write_text(f"{text}[caller]\n{table}")
    stack.agent.program.stop()
    stack.agent.start()


@pytest.fixture(autouse=True)
def as_they_were(there: Company) -> Iterator[None]:
    yield
    anna = {
        "name": "Anna Berg", "email": "anna@example.com", "email_verified": True, "groups": ["staff", "ops"],
    }  # fmt: skip
    there.tell("people", anna=anna)


class Assistant:
    """A client of the relay's authorization server, with tokens of its user."""

    def __init__(self, stack: Stack, http: httpx2.AsyncClient) -> None:
        self.stack = stack
        self.http = http
        self.client_id = ""
        self.tokens: dict[str, str] = {}

    async def connect(self, user: Employee, server: str = "time") -> None:
        registration = {"redirect_uris": [BACK], "token_endpoint_auth_method": "none"}
        made = await self.http.post(f"{self.stack.public_url}/oauth/register", json=registration)
        self.client_id = made.json()["client_id"]
        query = {
            "response_type": "code", "client_id": self.client_id, "redirect_uri": BACK, "state": "s",
            "code_challenge": CHALLENGE, "code_challenge_method": "S256", "resource": self.stack.url(server),
        }  # fmt: skip
        said = answered(await user.allow(f"{self.stack.public_url}/oauth/authorize?{urlencode(query)}"))
        status = await self.ask(
            grant_type="authorization_code", code=said["code"], redirect_uri=BACK, code_verifier=VERIFIER
        )
        assert status == 200

    async def refresh(self) -> int:
        return await self.ask(grant_type="refresh_token", refresh_token=self.tokens["refresh_token"])

    async def ask(self, **form: str) -> int:
        data = {**form, "client_id": self.client_id}
        reply = await self.http.post(f"{self.stack.public_url}/oauth/token", data=data)
        if reply.status_code == 200:
            self.tokens = reply.json()
        return reply.status_code

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens['access_token']}"}

    async def hello(self, server: str = "time") -> httpx2.Response:
        return await self.http.post(self.stack.url(server), json=HELLO, headers={**ACCEPT, **self.bearer})


@asynccontextmanager
async def connected(stack: Stack, there: Company) -> AsyncIterator[tuple[Assistant, Employee]]:
    async with (
        asyncio.timeout(60),
        httpx2.AsyncClient(timeout=20, trust_env=False) as http,
        Employee(stack.public_url, there) as anna,
    ):
        assistant = Assistant(stack, http)
        await assistant.connect(anna)
        yield assistant, anna


def made_old(stack: Stack, hours: float) -> None:
    """What the provider said was said so long ago."""
    with closing(sqlite3.connect(stack.folder / "relay-state" / "relay.db", timeout=10)) as records:
        records.execute("UPDATE upstream_users SET checked_at = checked_at - ?", (hours * 3600,))
        records.execute("UPDATE changes SET sequence = sequence + 1")
        records.commit()


def described(stack: Stack) -> dict[str, object]:
    with closing(sqlite3.connect(stack.folder / "relay-state" / "relay.db", timeout=10)) as records:
        (row,) = records.execute(
            "SELECT full_name, checked_at, refresh IS NOT NULL FROM upstream_users WHERE subject = 'anna'"
        ).fetchall()
    return dict(zip(("name", "checked_at", "renewable"), row, strict=True))


async def test_an_employee_connects_an_assistant_by_the_companys_login(stack: Stack, there: Company) -> None:
    async with connected(stack, there) as (assistant, anna):
        assert (await assistant.hello()).status_code == 200
        assert await anna.open(f"{stack.public_url}/oauth/grants") is None
        assert anna.page is not None
        assert "You are anna@example.com." in anna.page.text
        listed = stack.relay_cli("user", "list", "--json").stdout
        for said in ('"subject":"anna"', '"full_name":"Anna Berg"', '"admin":true', '["ops","staff"]'):
            assert said in listed


async def test_who_is_in_no_group_with_access_is_no_member(stack: Stack, there: Company) -> None:
    async with asyncio.timeout(60), Employee(stack.public_url, there, "bert") as bert:
        await bert.open(f"{stack.public_url}/oauth/grants")
        await bert.log_in()
        query = {
            "response_type": "code", "client_id": "dcr-nobody", "redirect_uri": BACK,
            "resource": stack.url("time"),
        }  # fmt: skip
        async with httpx2.AsyncClient(trust_env=False) as http:
            registration = {"redirect_uris": [BACK], "token_endpoint_auth_method": "none"}
            made = await http.post(f"{stack.public_url}/oauth/register", json=registration)
        query |= {"client_id": made.json()["client_id"], "code_challenge": CHALLENGE,
                  "code_challenge_method": "S256"}  # fmt: skip
        await bert.open(f"{stack.public_url}/oauth/authorize?{urlencode(query)}")
        assert bert.page is not None
        assert bert.page.status_code == 403
        assert "You have no access" in bert.page.text


async def test_a_refresh_asks_the_provider_again_and_takes_what_it_says(stack: Stack, there: Company) -> None:
    async with connected(stack, there) as (assistant, _):
        assert described(stack)["renewable"]
        there.tell("people", anna={"name": "Anna Dahl", "groups": ["staff"]})
        assert await assistant.refresh() == 200
        assert described(stack)["name"] == "Anna Berg"
        for _ in range(3):  # the provider replaces its refresh tokens, too
            made_old(stack, 7)
            before = described(stack)["checked_at"]
            assert await assistant.refresh() == 200
            now = described(stack)
            assert now["name"] == "Anna Dahl"
            assert float(str(now["checked_at"])) > float(str(before)) + 6 * 3600
        there.tell("people", anna={"name": "Anna Dahl", "groups": []})
        made_old(stack, 7)
        assert await assistant.refresh() == 400
        await until_refused(assistant, 404)


async def test_who_is_fired_is_out_at_the_next_refresh(stack: Stack, there: Company) -> None:
    async with connected(stack, there) as (assistant, _):
        there.tell("fire", who="anna")
        made_old(stack, 7)
        assert await assistant.refresh() == 400
        assert not described(stack)["renewable"]


async def test_a_logout_at_the_company_ends_all_within_five_seconds(stack: Stack, there: Company) -> None:
    async with connected(stack, there) as (assistant, anna):
        begun = await assistant.hello()
        session = {"Mcp-Session-Id": begun.headers["mcp-session-id"], "MCP-Protocol-Version": "2025-06-18"}
        headers = {**session, **assistant.bearer, "Accept": "text/event-stream"}
        async with assistant.http.stream("GET", stack.url("time"), headers=headers) as stream:
            assert stream.status_code == 200
            await anna.log_out_there()
            async with asyncio.timeout(5):  # from the logout to the end of what was under way
                async for _ in stream.aiter_raw():
                    pass
            await until_refused(assistant, 401)
        assert await assistant.refresh() == 400
        await anna.open(f"{stack.public_url}/oauth/grants")
        assert anna.page is not None
        assert "Log in with Example Ltd" in anna.page.text


async def test_disabling_a_user_says_what_it_ended_and_ends_it(stack: Stack, there: Company) -> None:
    async with connected(stack, there) as (assistant, anna):
        done = stack.relay_cli("user", "disable", "anna@example.com")
        assert "Grants ended: " in done.stderr
        assert "Logins ended: " in done.stderr
        assert "Grants ended: 0" not in done.stderr
        await until_refused(assistant, 401)
        await anna.open(f"{stack.public_url}/oauth/grants")
        assert anna.page is not None
        await anna.log_in()
        assert anna.page.status_code == 403
        assert "disabled your account" in anna.page.text
        stack.relay_cli("user", "enable", "anna@example.com")
        await anna.open(f"{stack.public_url}/oauth/grants")
        await anna.log_in()
        assert "You are anna@example.com." in anna.page.text


async def test_no_secret_of_all_this_is_in_the_relays_log(stack: Stack, there: Company) -> None:
    log = stack.relay.log.read_text()
    assert '"event":"login"' in log.replace(" ", "")
    for secret in (there.secret_file.read_text().strip(), "psa_", "psr_", "eyJ", "code="):
        assert secret not in log


async def until_refused(assistant: Assistant, status: int) -> None:
    """Within five seconds nothing is let in any more."""
    async with asyncio.timeout(5):
        while (await assistant.hello()).status_code != status:
            await asyncio.sleep(0.05)  # the relay looks at its records twice a second


async def test_a_site_that_believes_no_relay_takes_what_the_company_signed(
    stack: Stack, there: Company
) -> None:
    async with (
        asyncio.timeout(60),
        httpx2.AsyncClient(timeout=20, trust_env=False) as http,
        Employee(stack.public_url, there) as anna,
    ):
        assistant = Assistant(stack, http)
        await assistant.connect(anna, "safe")
        assert "serverInfo" in (await assistant.hello("safe")).text
        assert await assistant.refresh() == 200
        assert "serverInfo" in (await assistant.hello("safe")).text
        # A relay that widens the grant by itself opens nothing, and neither does a token of its own.
        with closing(sqlite3.connect(stack.folder / "relay-state" / "relay.db", timeout=10)) as records:
            records.execute(
                'UPDATE grants SET allowed = \'{"later":"all","others":true}\' WHERE proof IS NOT NULL'
            )
            records.execute("UPDATE changes SET sequence = sequence + 1")
            records.commit()
        async with asyncio.timeout(5):
            while "signed another grant" not in (answer := (await assistant.hello("safe")).text):
                assert "serverInfo" in answer
        token = stack.relay_cli("token", "issue", "--site", stack.site).stdout.strip()
        headers = {**ACCEPT, "Authorization": f"Bearer {token}"}
        refused = await http.post(stack.url("safe"), json=HELLO, headers=headers)
        assert "Personal access tokens do not open it" in refused.text
        assert "serverInfo" in (await http.post(stack.url("time"), json=HELLO, headers=headers)).text
