"""The authorization server: which page or endpoint answers what, and nothing else."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import urlsplit

from sqlalchemy.exc import SQLAlchemyError

from penstock import log
from penstock_relay import sealed
from penstock_relay.oauth import directory, metadata, pages, resource, web
from penstock_relay.oauth.account import Account
from penstock_relay.oauth.consent import GRANT, SIGN, Consent
from penstock_relay.oauth.directory import Directory
from penstock_relay.oauth.endpoints import Endpoints
from penstock_relay.oauth.entrance import Entrance
from penstock_relay.oauth.factor import checking, page, step
from penstock_relay.oauth.factor.checking import Codes
from penstock_relay.oauth.factor.page import FactorPage
from penstock_relay.oauth.factor.step import SecondStep
from penstock_relay.oauth.fetch import Documents
from penstock_relay.oauth.issuer import Issuer
from penstock_relay.oauth.limits import Limits
from penstock_relay.oauth.login import Login
from penstock_relay.oauth.metadata import any_origin
from penstock_relay.oauth.offers import Sites
from penstock_relay.oauth.organisation import Organisation
from penstock_relay.oauth.signatures import Signatures
from penstock_relay.oauth.tokens import Seal
from penstock_relay.oauth.tries import Tries
from penstock_relay.oauth.upstream import login as upstream_login
from penstock_relay.oauth.upstream.login import Continue, UpstreamLogin
from penstock_relay.oauth.upstream.logout import Logout
from penstock_relay.oauth.upstream.party import Party
from penstock_relay.oauth.upstream.sealing import KeySealer
from penstock_relay.oauth.upstream.standing import Rules, Standings
from penstock_relay.oauth.visit import Visits
from penstock_relay.oauth.web import Asked, Reply
from penstock_relay.sealed import PLAIN, Keyring
from penstock_relay.store import Store

Handler = Callable[[Asked, float], Awaitable[Reply]]

_OPEN: Final = Organisation()
_PROTECTED: Final = metadata.PROTECTED + "{path}"
_INVITE: Final = "/invite/{word}"
ALIASES: Final = {"/authorize": "/oauth/authorize", "/token": "/oauth/token", "/register": "/oauth/register"}
"""Some clients do not read the metadata, and look where the first drafts had an authorization server."""
_NOTHING: Final = "There is nothing at this path."

_log = log.get(__name__)


class AuthorizationServer:
    """One per replica; `origin` is the public URL. `issuers` are others whose tokens are good here.

    `documents` reads those of clients, `key_documents` their key sets; :meth:`run` must be running.
    """

    def __init__(
        self,
        store: Store,
        origin: str,
        key: bytes,
        *,
        documents: Documents,
        key_documents: Documents | None = None,
        sites: Sites,
        issuers: Sequence[Issuer] = (),
        limits: Limits | None = None,
        organisation: Organisation = _OPEN,
        local_accounts: bool = True,
        upstream: Party | None = None,
        keyring: Keyring = PLAIN,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`upstream`: the identity provider through which users log in; its owner runs it.

        `key` is that of :func:`key_of`, `keyring` what seals the keys of second factors in the store.
        """
        self._store = store
        self._keyring = keyring
        self._origin = origin
        self._documents = documents
        self._issuers = issuers
        self._clock = clock
        limits = limits or Limits()
        self._signatures = Signatures(key_documents or documents, origin)
        wanted = organisation.second_factor
        issuer = None if upstream is None else upstream.settings.issuer
        rules = Rules(local_accounts, issuer, wanted == "required")
        sealer = KeySealer(key)
        found = Directory(store, documents, self._signatures, limits, organisation)
        visits = Visits(store, origin, Seal(key), rules.enters)
        self._standings = Standings(store, rules, upstream, sealer)
        endpoints = Endpoints(store, found, origin, limits, self._standings, organisation.lives)
        purposes: dict[str, Continue] = {}
        door = None if upstream is None else UpstreamLogin(upstream, store, visits, origin, sealer, purposes)
        entrance = Entrance(store, visits, Tries(limits))
        codes, host = Codes(store, keyring), urlsplit(origin).netloc
        second = SecondStep(store, visits, entrance, codes, wanted, host)
        login = Login(store, visits, entrance, second, local=local_accounts, elsewhere=door)
        later = organisation.later_tools
        consent = Consent(store, found, origin, visits, login, sites, later=later, provider=door)
        purposes[GRANT] = consent.signed
        account = Account(store, visits, login, sites, later=later, factors=wanted != "off")
        factor = FactorPage(store, visits, login, codes, wanted, host)
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
            ("POST", step.CODE): second.code,
            ("POST", step.SETUP): second.setup,
            ("GET", page.PATH): factor.factor,
            ("POST", page.PATH): factor.factor,
            ("POST", "/oauth/consent"): consent.consent,
            ("GET", SIGN): consent.sign,
            ("GET", "/oauth/grants"): account.grants,
            ("POST", "/oauth/grants"): account.grants,
            ("GET", "/oauth/grant"): account.grant,
            ("POST", "/oauth/grant"): account.grant,
            ("POST", "/oauth/logout"): account.logout,
            ("GET", _INVITE): login.invite,
            ("POST", _INVITE): login.invite,
        }
        if upstream is not None and door is not None:
            self._routes |= {
                ("GET", upstream_login.PATH): door.login,
                ("GET", upstream_login.CALLBACK): door.callback,
                ("POST", upstream_login.LOGOUT): Logout(upstream, store).logout,
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
                return resource.PREFLIGHT
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
        place = asked.path.removeprefix(metadata.PROTECTED)
        return resource.described(
            asked.method, metadata.protected(self._origin, place, issuers=self._issuers)
        )

    async def _metadata(self, asked: Asked, now: float) -> Reply:
        return resource.described(asked.method, metadata.authorization_server(self._origin))

    async def run(self) -> NoReturn:
        """Purges what nobody used and logins that are over, and fetches clients' keys, for ever.

        A TaskGroup owns it.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._sealed_again())
                tasks.create_task(self._signatures.run())
                tasks.create_task(self._standings.run())
                while True:
                    try:
                        await self._store.clients.purge(self._clock() - directory.UNUSED_S)
                    except (SQLAlchemyError, OSError) as error:
                        _log.warning("clients_not_purged", cause=type(error).__name__)
                    await asyncio.sleep(directory.PURGE_S)
        finally:
            await self._documents.close()

    async def _sealed_again(self) -> None:
        try:
            await checking.seal_again(self._store, self._keyring)
        except (SQLAlchemyError, OSError) as error:  # they open as they are; the next start tries again
            _log.warning("factors_not_sealed_again", cause=type(error).__name__)


def key_of(state_dir: Path, keyring: Keyring) -> bytes:
    """The key of this relay's seals, made by whoever needs it first. Raises OSError, SealError."""
    return sealed.keep(state_dir / "seal.key", "seal key", keyring, lambda: secrets.token_bytes(32))


def _form(path: str) -> str:
    """`path` as the table of routes has it."""
    if path.startswith(metadata.PROTECTED):
        return _PROTECTED
    return _INVITE if path.startswith("/invite/") else path
