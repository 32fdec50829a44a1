"""A company's identity provider without a network, as honest or as wicked as a test wants it."""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from penstock.jwks import FetchError
from penstock_relay.oauth import tokens
from penstock_relay.oauth.organisation import Organisation
from penstock_relay.oauth.trusted import Trusted
from penstock_relay.oauth.upstream.idtoken import half_hash
from penstock_relay.oauth.upstream.logout import EVENT
from penstock_relay.oauth.upstream.party import Party
from penstock_relay.oauth.upstream.provider import Provider
from penstock_relay.oauth.upstream.settings import UpstreamSettings
from penstock_relay.oauth.web import Reply
from penstock_relay.store import Membership
from tests.harness import signing
from tests.relay.oauth import visiting
from tests.relay.oauth.visiting import ORIGIN, Browser, Place, query

ISSUER = "https://sso.example"
CLIENT = "relay"
SECRET = "s3cret/of+the relay"
BACK = f"{ORIGIN}/oauth/upstream/callback"
ANNA = {"name": "Anna Berg", "email": "anna@example.com", "email_verified": True, "groups": ["staff"]}


@dataclass
class Company(Trusted):
    """What the relay asks of it, and what it answers. `now` is its clock."""

    now: float = 1_000_000.0
    people: dict[str, dict[str, Any]] = field(default_factory=lambda: {"anna": dict(ANNA)})
    metadata: dict[str, Any] = field(default_factory=dict)
    """Changes; None takes away."""
    id_token: dict[str, Any] = field(default_factory=dict)
    """Changes of the claims of the next ID tokens; None takes away."""
    header: dict[str, Any] = field(default_factory=dict)
    how: str = ""
    """How they are signed, see signing.compact; "" honestly."""
    short: bool = True
    """Whether an ID token says no more than it must: the rest is at the userinfo endpoint."""
    userinfo: dict[str, Any] = field(default_factory=dict)
    offline: bool = False
    """Whether it gives refresh tokens."""
    down: bool = False
    sid: str | None = "sid-1"
    keys: tuple[str, ...] = ("rsa",)
    asked: list[tuple[str, str, dict[str, str], dict[str, str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._codes: dict[str, dict[str, str]] = {}
        self._refresh: dict[str, str] = {}
        self._count = 0

    # -- what the relay asks

    async def get(self, url: str, /) -> bytes:
        status, data = await self.send("GET", url, headers={})
        if status != 200:
            raise FetchError(f"it answered {status}, not 200")
        return data

    async def send(
        self, method: str, url: str, *, fields: Mapping[str, str] | None = None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        self.asked.append((method, url, dict(fields or {}), dict(headers)))
        if self.down:
            raise FetchError("it did not answer in time")
        path = url.removeprefix(ISSUER)
        if path == "/.well-known/openid-configuration":
            return 200, self._metadata()
        if path == "/jwks":
            return 200, signing.key_set(*self.keys)
        if path == "/token" and method == "POST":
            return self._token(dict(fields or {}), headers)
        if path == "/userinfo":
            subject = headers["Authorization"].removeprefix("Bearer at-")
            if subject not in self.people:
                return 401, b"{}"
            said = signing.patched({"sub": subject, **self.people[subject]}, self.userinfo)
            return 200, json.dumps(said).encode()
        return 404, b"{}"

    def _metadata(self) -> bytes:
        usual = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/authorize",
            "token_endpoint": f"{ISSUER}/token",
            "userinfo_endpoint": f"{ISSUER}/userinfo",
            "jwks_uri": f"{ISSUER}/jwks",
            "authorization_response_iss_parameter_supported": True,
        }
        return json.dumps(signing.patched(usual, self.metadata)).encode()

    def _token(self, form: dict[str, str], headers: Mapping[str, str]) -> tuple[int, bytes]:
        nonce = None
        if form["grant_type"] == "refresh_token":
            subject = self._refresh.pop(form["refresh_token"], None)
        else:
            begun = self._codes.pop(form["code"], None)
            if (
                begun is None
                or not form["redirect_uri"] == BACK == begun["redirect_uri"]
                or not tokens.proves(form["code_verifier"], begun["code_challenge"])
            ):
                return 400, b'{"error": "invalid_grant"}'
            subject, nonce = begun["subject"], begun["nonce"]
        if subject is None or subject not in self.people:
            return 400, b'{"error": "invalid_grant"}'
        access = f"at-{subject}"
        said = {} if self.short else self.people[subject]
        usual = {
            "iss": ISSUER, "sub": subject, "aud": CLIENT, "iat": int(self.now), "exp": int(self.now) + 600,
            "nonce": nonce, "at_hash": half_hash("RS256", access), "sid": self.sid, **said,
        }  # fmt: skip
        answer = {
            "access_token": access,
            "token_type": "Bearer",
            "id_token": self.sign(signing.patched(usual, self.id_token)),
        }
        if self.offline:
            self._count += 1
            answer["refresh_token"] = f"refresh-{self._count}"
            self._refresh[answer["refresh_token"]] = subject
        return 200, json.dumps(answer).encode()

    def sign(self, claims: dict[str, Any], typ: str = "JWT") -> str:
        head = signing.patched({"alg": "RS256", "kid": "rsa", "typ": typ}, self.header)
        return signing.compact(json.dumps(head).encode(), json.dumps(claims).encode(), self.how or "rsa")

    # -- what a browser asks

    def log_in(self, url: str, subject: str = "anna", **changes: str) -> str:
        """Somebody logs in there: the query that the browser brings back."""
        parts = urlsplit(url)
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{ISSUER}/authorize"
        asked = dict(parse_qsl(parts.query))
        self._count += 1
        code = f"code-{self._count}"
        self._codes[code] = {**asked, "subject": subject}
        back = {"code": code, "state": asked["state"], "iss": ISSUER, **changes}
        return urlencode({name: value for name, value in back.items() if value})

    def logout_token(self, typ: str = "logout+jwt", **changes: Any) -> str:
        self._count += 1
        usual = {
            "iss": ISSUER, "aud": CLIENT, "iat": int(self.now), "exp": int(self.now) + 120,
            "jti": f"logout-{self._count}", "events": {EVENT: {}}, "sub": "anna", "sid": None,
        }  # fmt: skip
        return self.sign(signing.patched(usual, changes), typ)


@dataclass
class Site(Place):
    """A relay whose users come from the company."""

    company: Company = field(default_factory=Company)

    async def log_out(self, token: str) -> Reply:
        return await self.post("/oauth/upstream/logout", {"logout_token": token})

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.company.now = self.now


@asynccontextmanager
async def site(
    folder: Path, company: Company | None = None, *, local: bool = True,
    organisation: Organisation | None = None, **settings: Any,
) -> AsyncIterator[Site]:  # fmt: skip
    """Site oslo, alice who has a password here, and Anna of the company who may use its server files."""
    company = company or Company()
    table = UpstreamSettings(issuer=ISSUER, client_id=CLIENT, **settings)
    provider = Provider(ISSUER, company.get, ticks=lambda: found.now)
    party = Party(table, SECRET, company, clock=lambda: found.now, provider=provider)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(party.run())
        async with visiting.place(
            folder, upstream=party, local_accounts=local, organisation=organisation or Organisation()
        ) as made:
            found = Site(made.server, made.store, made.shelf, made.sites, made.now, company=company)
            made.server._clock = lambda: found.now
            checking = tasks.create_task(made.server._standings.run())
            yield found
            checking.cancel()
        running.cancel()


@dataclass
class Employee(Browser):
    """A browser of somebody of the company."""

    subject: str = "anna"

    async def to_company(self, asked: str | None = None) -> str:
        """From the first click to the company's login page, whose URL it is."""
        await self.open("/oauth/authorize" if asked else "/oauth/grants", asked or "")
        return await self.click()

    async def click(self) -> str:
        """The button of the login page."""
        self.left_for = ""
        await self.open_url(link(self.page))
        return self.left_for

    async def open_url(self, url: str) -> Reply:
        path, _, asked = url.partition("?")
        return await self.open(path, asked)

    async def come_back(self, answer: str) -> Reply:
        return await self.open("/oauth/upstream/callback", answer)

    async def log_in_there(self, asked: str | None = None, **changes: str) -> Reply:
        assert isinstance(self.place, Site)
        url = await self.to_company(asked)
        return await self.come_back(self.place.company.log_in(url, self.subject, **changes))


def link(page: Reply) -> str:
    """Where the button of a login page leads."""
    found = re.search(r'<a class="main" href="([^"]*)">', page.body.decode())
    assert found is not None, page.body.decode()
    return html.unescape(found[1])


async def let_in(place: Site, subject: str = "anna", **changes: Any) -> tuple[Employee, str]:
    """Somebody of the company who is a member by name, logged in; the browser and the name here."""
    browser = Employee(place, subject=subject)
    page = await browser.log_in_there()
    assert page.status == 200, page.body.decode()
    (name,) = [user.name for user in await place.store.users.list() if user.subject == subject]
    await place.store.memberships.add(Membership(name, "oslo", "files", place.now))
    return browser, name


async def connected(place: Site, subject: str = "anna") -> tuple[str, dict[str, Any]]:
    """The name here of somebody of the company, and the tokens of a client of theirs."""
    browser, name = await let_in(place, subject)
    status, found = await place.redeem(await browser.code(query()))
    assert status == 200, found
    return name, found


def asked_of(url: str) -> dict[str, str]:
    """The query of a URL."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
