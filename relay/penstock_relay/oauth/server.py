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
from penstock_relay import sealed
from penstock_relay.oauth import directory, metadata, pages, web
from penstock_relay.oauth.browser import Browser
from penstock_relay.oauth.directory import Directory
from penstock_relay.oauth.endpoints import Endpoints
from penstock_relay.oauth.fetch import Documents
from penstock_relay.oauth.metadata import any_origin
from penstock_relay.oauth.tokens import Seal
from penstock_relay.oauth.web import Asked, Reply
from penstock_relay.sealed import Keyring
from penstock_relay.store import Store

Handler = Callable[[Asked, float], Awaitable[Reply]]

_PREFLIGHT: Final = (
    ("access-control-allow-origin", "*"),
    ("access-control-allow-methods", "GET, POST"),
    ("access-control-allow-headers", "authorization, content-type, mcp-protocol-version"),
    ("access-control-max-age", "3600"),
)
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
        endpoints, browser = Endpoints(store, found, origin), Browser(store, found, origin, Seal(key))
        self._routes: dict[tuple[str, str], Handler] = {
            ("POST", "/oauth/register"): endpoints.register,
            ("POST", "/oauth/token"): endpoints.token,
            ("POST", "/oauth/revoke"): endpoints.revoke,
            ("GET", "/oauth/authorize"): browser.authorize,
            ("POST", "/oauth/login"): browser.login,
            ("POST", "/oauth/consent"): browser.consent,
            ("GET", "/oauth/grants"): browser.grants,
            ("POST", "/oauth/grants"): browser.grants,
            ("POST", "/oauth/logout"): browser.logout,
        }
        self._invite: Handler = browser.invite

    async def handle(self, asked: Asked) -> Reply:
        """Answers; never raises for what was asked."""
        now = self._clock()
        path = _ALIASES.get(asked.path, asked.path)
        try:
            if path.startswith("/.well-known/"):
                return self._well_known(asked.method, path)
            if asked.method == "OPTIONS" and any_origin(path):
                return Reply(204, b"", _PREFLIGHT)
            if path.startswith("/invite/") and asked.method in ("GET", "POST"):
                return await self._invite(asked, now)
            handler = self._routes.get((asked.method, path))
            if handler is not None:
                return await handler(asked, now)
        except web.BadForm as error:
            return pages.problem(400, "This form cannot be read", str(error))
        except (SQLAlchemyError, OSError) as error:
            _log.error("oauth_store_failed", cause=type(error).__name__)
            if any_origin(path):
                return web.json(503, {"error": "temporarily_unavailable"}, (("retry-after", "10"),))
            return pages.problem(503, "Not now", "The relay cannot reach its records. Try again in a minute.")
        others = [method for method, known in self._routes if known == path]
        if others:
            return Reply(405, b"", (("allow", ", ".join(others)),))
        return pages.problem(404, "Nothing here", _NOTHING)

    def _well_known(self, method: str, path: str) -> Reply:
        if method == "OPTIONS":
            return Reply(204, b"", _PREFLIGHT)
        if method not in ("GET", "HEAD"):
            return Reply(405, b"", (("allow", "GET"),))
        found: dict[str, object] | None = None
        if path.startswith(metadata.PROTECTED):
            found = metadata.protected(self._origin, path.removeprefix(metadata.PROTECTED))
        elif path in (metadata.SERVER, metadata.OPENID):
            found = metadata.authorization_server(self._origin)
        if found is None:
            return web.json(404, {"error": "not_found"})
        return web.json(200, found, stored=True)

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


def key_of(state_dir: Path, keyring: Keyring) -> bytes:
    """The key of this relay's seals, made by whoever needs it first. Raises OSError, SealError."""
    return sealed.keep(state_dir / "seal.key", "seal key", keyring, lambda: secrets.token_bytes(32))


_ALIASES: Final = {"/authorize": "/oauth/authorize", "/token": "/oauth/token", "/register": "/oauth/register"}
"""Some clients do not read the metadata, and look where the first drafts had an authorization server."""
