"""A relay's authorization server with a user in its store, a browser that visits it, and a client."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec

from penstock.http import first
from penstock.jwks import FetchError
from penstock.names import WHOLE_SITE
from penstock.principal import Principal
from penstock_relay import passwords
from penstock_relay.oauth import tokens
from penstock_relay.oauth.fetch import Documents
from penstock_relay.oauth.offers import Effect, Offer, Tool
from penstock_relay.oauth.server import AuthorizationServer
from penstock_relay.oauth.web import Asked, Peer, Reply
from penstock_relay.store import Membership, Store, User
from tests.harness.person import filled_in

ORIGIN = "https://mcp.example.com"
RESOURCE = f"{ORIGIN}/oslo/files/mcp"
CALLBACK = "https://claude.ai/api/mcp/auth_callback"
DOCUMENT = "https://claude.ai/oauth/mcp-oauth-client-metadata"
PASSWORD = "correct horse battery"
VERIFIER = "v" * 50
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
HASH = passwords.hash_password(PASSWORD)


class Shelf(Documents):
    """Metadata documents by URL; no network."""

    def __init__(self, documents: dict[str, bytes]) -> None:
        super().__init__()
        self.documents = documents

    async def get(self, url: str) -> bytes:
        try:
            return self.documents[url]
        except KeyError:
            raise FetchError("it cannot be fetched") from None


def document(client_id: str = DOCUMENT, name: str = "Claude", *callbacks: str) -> bytes:
    return msgspec.json.encode(
        {
            "client_id": client_id,
            "client_name": name,
            "redirect_uris": callbacks or (CALLBACK,),
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"],
        }
    )


READ = Tool("read", Effect.READ, "Read a file", "Reads.")
WRITE = Tool("write", Effect.WRITE)
DROP = Tool("drop", Effect.DESTRUCTIVE)
FILES = Offer((READ, WRITE, DROP), prompts=1)


class FakeSites:
    """Sites that answer at once. `asked` is who asked for what."""

    def __init__(self) -> None:
        self.offers: dict[tuple[str, str], Offer | None] = {("oslo", "files"): FILES}
        self.asked: list[tuple[Principal, str, str]] = []

    async def offer(self, caller: Principal, site: str, server: str) -> Offer | None:
        self.asked.append((caller, site, server))
        return self.offers.get((site, server))

    def servers(self, site: str) -> frozenset[str]:
        return frozenset(server for where, server in self.offers if where == site and server != WHOLE_SITE)

    def lacks(self, site: str, server: str) -> bool:
        return server != WHOLE_SITE and bool(self.servers(site)) and server not in self.servers(site)


@dataclass
class Place:
    server: AuthorizationServer
    store: Store
    shelf: Shelf
    sites: FakeSites
    now: float = 1_000_000.0
    peer: Peer = field(default_factory=Peer)
    """Where everybody comes from; by default nobody can tell."""

    async def get(self, path: str, query: str = "", *headers: tuple[str, str]) -> Reply:
        return await self.server.handle(Asked("GET", path, query, headers, b"", self.peer))

    async def post(self, path: str, form: dict[str, str], *headers: tuple[str, str]) -> Reply:
        kind = ("content-type", "application/x-www-form-urlencoded")
        body = urlencode(form).encode()
        return await self.server.handle(Asked("POST", path, "", (kind, *headers), body, self.peer))

    async def register(self, **values: object) -> dict[str, Any]:
        body = msgspec.json.encode({"redirect_uris": [CALLBACK], "client_name": "Claude", **values})
        reply = await self.server.handle(Asked("POST", "/oauth/register", "", (), body, self.peer))
        assert reply.status == 201, reply.body
        found: dict[str, Any] = msgspec.json.decode(reply.body)
        return found

    async def token(self, *headers: tuple[str, str], **form: str) -> tuple[int, dict[str, Any]]:
        reply = await self.post("/oauth/token", form, *headers)
        return reply.status, msgspec.json.decode(reply.body)

    async def redeem(self, code: str, **changes: str) -> tuple[int, dict[str, Any]]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": CALLBACK,
            "client_id": DOCUMENT,
            "code_verifier": VERIFIER,
            "resource": RESOURCE,
        }
        return await self.token(**{**form, **changes})

    async def refresh(self, token: str, client_id: str = DOCUMENT) -> tuple[int, dict[str, Any]]:
        return await self.token(grant_type="refresh_token", refresh_token=token, client_id=client_id)

    async def add_user(self, name: str, password_hash: str | None = HASH) -> str:
        """The word of the new user's invitation."""
        word = tokens.secret()
        user = User(name, f"{name}@example.com", None, self.now)
        await self.store.users.add(user, tokens.digest(word), self.now + 1000)
        if password_hash is not None:
            await self.store.users.accept(tokens.digest(word), password_hash, self.now)
        return word


@asynccontextmanager
async def opened(folder: Path, **settings: Any) -> AsyncIterator[Place]:
    """With what is in `folder`, or nothing. `settings` are those of the server."""
    async with await Store.open(f"sqlite+aiosqlite:///{folder / 'relay.db'}") as store:
        shelf = Shelf({DOCUMENT: document()})
        sites = FakeSites()
        server = AuthorizationServer(
            store, ORIGIN, b"k" * 32, documents=shelf, sites=sites, clock=lambda: found.now, **settings
        )
        found = Place(server, store, shelf, sites)
        yield found


@asynccontextmanager
async def place(folder: Path, **settings: Any) -> AsyncIterator[Place]:
    """Site oslo, and alice who may use its server files. `settings` are those of the server."""
    async with opened(folder, **settings) as found:
        await found.store.sites.add("oslo", found.now)
        await found.add_user("alice")
        await found.store.memberships.add(Membership("alice", "oslo", "files", found.now))
        yield found


def query(**changes: str | None) -> str:
    """A good authorization request; None removes a parameter."""
    values = {
        "response_type": "code",
        "client_id": DOCUMENT,
        "redirect_uri": CALLBACK,
        "state": "s+t/a=te",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "resource": RESOURCE,
        "scope": "mcp offline_access",
        **changes,
    }
    return urlencode({name: value for name, value in values.items() if value is not None})


@dataclass
class Browser:
    """Follows forms and redirects within the relay, and keeps its cookies, as a person's would."""

    place: Place
    cookies: dict[str, str] = field(default_factory=dict)
    page: Reply = field(default_factory=lambda: Reply(0))
    left_for: str = ""
    """Where the last redirect led that was not the relay's own."""

    async def open(self, path: str, query: str = "") -> Reply:
        await self._follow(await self.place.get(path, query, *self._sent()))
        return self.page

    async def submit(self, **filled: str) -> Reply:
        """Fills the page's first form in, and sends it. A value of "" takes a tick away."""
        text = self.page.body.decode()
        form = re.search(r'<form method="post" action="([^"]*)">(.*?)</form>', text, re.S)
        assert form is not None, text
        fields = filled_in(form[2])
        unticked = {name for name, value in filled.items() if not value and fields.get(name) == "on"}
        fields = {name: value for name, value in fields.items() if name not in unticked}
        filled = {name: value for name, value in filled.items() if name not in unticked}
        await self._follow(await self.place.post(html.unescape(form[1]), {**fields, **filled}, *self._sent()))
        return self.page

    async def log_in(self, name: str = "alice", password: str = PASSWORD) -> Reply:
        return await self.submit(name=name, password=password)

    @property
    def answer(self) -> dict[str, str]:
        """What the client finds in the query of its callback."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.left_for).query).items()}

    async def code(self, query: str) -> str:
        """From the first click to the client's callback."""
        await self.open("/oauth/authorize", query)
        if b'name="password"' in self.page.body:
            await self.log_in()
        await self.submit(decision="allow")
        return self.answer["code"]

    def _sent(self) -> tuple[tuple[str, str], ...]:
        return (("cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items())),)

    async def _follow(self, reply: Reply) -> None:
        for name, value in reply.headers:
            if name == "set-cookie":
                pair = value.partition(";")[0].partition("=")
                self.cookies[pair[0]] = pair[2]
        self.page = reply
        location = first(reply.headers, "location")
        if location is None:
            return
        if location.startswith("/"):
            path, _, rest = location.partition("?")
            await self.open(path, rest)
        else:
            self.left_for = location
