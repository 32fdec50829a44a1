"""The authorization server: which page or endpoint answers what, and nothing else."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NoReturn

from sqlalchemy.exc import SQLAlchemyError

from penstock import log
from penstock_relay import files
from penstock_relay.oauth import directory, metadata, pages, web
from penstock_relay.oauth.account import Account
from penstock_relay.oauth.consent import Consent
from penstock_relay.oauth.directory import Directory
from penstock_relay.oauth.endpoints import Endpoints
from penstock_relay.oauth.fetch import Documents
from penstock_relay.oauth.login import Login
from penstock_relay.oauth.metadata import any_origin
from penstock_relay.oauth.tokens import Seal
from penstock_relay.oauth.visit import Visits
from penstock_relay.oauth.web import Asked, Reply
from penstock_relay.store import Store

Handler = Callable[[Asked, float], Awaitable[Reply]]

_PREFLIGHT: Final = (
    ("access-control-allow-origin", "*"),
    ("access-control-allow-methods", "GET, POST"),
    ("access-control-allow-headers", "authorization, content-type, mcp-protocol-version"),
    ("access-control-max-age", "3600"),
)
_PROTECTED: Final = metadata.PROTECTED + "{path}"
_INVITE: Final = "/invite/{word}"
ALIASES: Final = {"/authorize": "/oauth/authorize", "/token": "/oauth/token", "/register": "/oauth/register"}
"""Some clients do not read the metadata, and look where the first drafts had an authorization server."""
_NOTHING: Final = "There is nothing at this path."

_log = log.get(__name__)


class AuthorizationServer:
    """One per replica; `origin` is the public URL."""

    def __init__(
        self,
        store: Store,
        origin: str,
        key: bytes,
        *,
        documents: Documents,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._origin = origin
        self._documents = documents
        self._clock = clock
        found = Directory(store, documents)
        visits = Visits(store, origin, Seal(key))
        endpoints, login = Endpoints(store, found, origin), Login(store, visits)
        consent, account = Consent(store, found, origin, visits, login), Account(store, visits, login)
        self._routes: dict[tuple[str, str], Handler] = {
            ("GET", _PROTECTED): self._protected,
            ("HEAD", _PROTECTED): self._protected,
            ("GET", metadata.SERVER): self._metadata,
            ("HEAD", metadata.SERVER): self._metadata,
            ("GET", metadata.OPENID): self._metadata,
            ("HEAD", metadata.OPENID): self._metadata,
            ("POST", "/oauth/register"): endpoints.register,
            ("POST", "/oauth/token"): endpoints.token,
            ("POST", "/oauth/revoke"): endpoints.revoke,
            ("GET", "/oauth/authorize"): consent.authorize,
            ("POST", "/oauth/login"): login.login,
            ("POST", "/oauth/consent"): consent.consent,
            ("GET", "/oauth/grants"): account.grants,
            ("POST", "/oauth/grants"): account.grants,
            ("POST", "/oauth/logout"): account.logout,
            ("GET", _INVITE): login.invite,
            ("POST", _INVITE): login.invite,
        }

    @property
    def routes(self) -> frozenset[tuple[str, str]]:
        """Method and form of path of everything that is answered here; all else is 404 or 405.

        Without the older names in `ALIASES`, and OPTIONS, which pages of any origin may ask of `any_origin`.
        """
        return frozenset(self._routes)

    async def handle(self, asked: Asked) -> Reply:
        """Answers; never raises for what was asked."""
        now = self._clock()
        path = ALIASES.get(asked.path, asked.path)
        try:
            if asked.method == "OPTIONS" and any_origin(path):
                return Reply(204, b"", _PREFLIGHT)
            handler = self._routes.get((asked.method, _form(path)))
            if handler is not None:
                return await handler(asked, now)
        except web.BadForm as error:
            return pages.problem(400, "This form cannot be read", str(error))
        except (SQLAlchemyError, OSError) as error:
            _log.error("oauth_store_failed", cause=type(error).__name__)
            if any_origin(path):
                return web.json(503, {"error": "temporarily_unavailable"}, (("retry-after", "10"),))
            return pages.problem(503, "Not now", "The relay cannot reach its records. Try again in a minute.")
        others = [method for method, known in self._routes if known == _form(path)]
        if others:
            return Reply(405, b"", (("allow", ", ".join(others)),))
        if any_origin(path):
            return web.json(404, {"error": "not_found"})
        return pages.problem(404, "Nothing here", _NOTHING)

    async def _protected(self, asked: Asked, now: float) -> Reply:
        found = metadata.protected(self._origin, asked.path.removeprefix(metadata.PROTECTED))
        return web.json(404, {"error": "not_found"}) if found is None else web.json(200, found, stored=True)

    async def _metadata(self, asked: Asked, now: float) -> Reply:
        return web.json(200, metadata.authorization_server(self._origin), stored=True)

    async def run(self) -> NoReturn:
        """Purges registrations that nobody used, for ever. A TaskGroup owns it."""
        try:
            while True:
                try:
                    await self._store.clients.purge(self._clock() - directory.UNUSED_S)
                except (SQLAlchemyError, OSError) as error:
                    _log.warning("clients_not_purged", cause=type(error).__name__)
                await asyncio.sleep(directory.PURGE_S)
        finally:
            await self._documents.close()


def key_of(state_dir: Path) -> bytes:
    """The key of this relay's seals, made by whoever needs it first. Raises OSError."""
    path = state_dir / "seal.key"
    files.create(path, secrets.token_bytes(32))
    return path.read_bytes()


def _form(path: str) -> str:
    """`path` as the table of routes has it."""
    if path.startswith(metadata.PROTECTED):
        return _PROTECTED
    return _INVITE if path.startswith("/invite/") else path
