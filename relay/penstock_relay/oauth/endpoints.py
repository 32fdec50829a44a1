"""The endpoints that programs call: register, token, revoke. JSON out, OAuth's own errors."""

from __future__ import annotations

import hmac
from dataclasses import replace
from typing import Final

from penstock.http import first
from penstock_relay import audit
from penstock_relay.oauth import tokens, web
from penstock_relay.oauth.client import BadClient, Client
from penstock_relay.oauth.directory import Directory, TooMany
from penstock_relay.oauth.limits import TOO_OFTEN, Limits
from penstock_relay.oauth.metadata import SCOPE, resource_of
from penstock_relay.oauth.organisation import Lives
from penstock_relay.oauth.signatures import Unproven
from penstock_relay.oauth.upstream.standing import Standing, Standings
from penstock_relay.oauth.web import Asked, Reply
from penstock_relay.store import Grant, GrantToken, Store

_BASIC: Final = (("www-authenticate", 'Basic realm="penstock"'),)


_NO_ACCESS: Final = "The user has no access to this MCP endpoint any more."


class Refused(Exception):
    """An error of RFC 6749, 5.2; the text is its error_description."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Endpoints:
    def __init__(
        self,
        store: Store,
        directory: Directory,
        origin: str,
        limits: Limits,
        standings: Standings,
        lives: Lives,
    ) -> None:
        self._store = store
        self._directory = directory
        self._origin = origin
        self._limits = limits
        self._standings = standings
        self._lives = lives

    async def register(self, asked: Asked, now: float) -> Reply:
        """RFC 7591, open to all: what a stranger gets is a name, and no right."""
        try:
            return web.json(201, await self._directory.register(asked.body, asked.peer, now))
        except BadClient as error:
            return _error(400, error.code, str(error))
        except TooMany as error:
            return _too_often("Too many registrations. Try again later.", error.again_s)

    async def revoke(self, asked: Asked, now: float) -> Reply:
        """RFC 7009. Either token ends the grant: a user who disconnects wants no access to remain."""
        wait = self._limits.refusing(asked.peer, now)
        if wait:
            return _too_often(TOO_OFTEN, wait)
        try:
            form = asked.form()
            client = await self._client(asked, form, now)
        except Unproven as error:
            return _unproven(error)
        except web.BadForm as error:
            return _error(400, "invalid_request", str(error))
        except Refused as error:
            self._limits.refused(asked.peer, now)
            return _refusal(error)
        found = tokens.parse(form.get("token", ""))
        holder = None if found is None else await self._store.grants.find_token(found[1])
        if (
            found is not None
            and holder is not None
            and hmac.compare_digest(holder.token.secret_hash, found[2])
            and holder.grant.client_id == client.client_id
        ):
            store = self._store.by(audit.client(client.client_id, holder.grant.user))
            await store.grants.revoke(holder.grant.id, now)
        return web.json(200, {})

    async def token(self, asked: Asked, now: float) -> Reply:
        """RFC 6749, 4.1.3 and 6."""
        wait = self._limits.refusing(asked.peer, now)
        if wait:
            return _too_often(TOO_OFTEN, wait)
        try:
            form = asked.form()
            client = await self._client(asked, form, now)
            match form.get("grant_type"):
                case "authorization_code":
                    return await self._redeem(form, client, now)
                case "refresh_token":
                    return await self._refresh(form, client, now)
        except Unproven as error:
            return _unproven(error)
        except web.BadForm as error:
            return _error(400, "invalid_request", str(error))
        except Refused as error:
            self._limits.refused(asked.peer, now)
            return _refusal(error)
        return _error(400, "unsupported_grant_type", "Use authorization_code or refresh_token.")

    async def _client(self, asked: Asked, form: dict[str, str], now: float) -> Client:
        client = await self._directory.authenticate(first(asked.headers, "authorization"), form, now)
        if client is None:
            raise Refused("invalid_client", "The client is unknown, or did not prove who it is.")
        return client

    async def _redeem(self, form: dict[str, str], client: Client, now: float) -> Reply:
        secret_hash = tokens.digest(form.get("code", ""))
        code = await self._store.grants.find_code(secret_hash)
        if code is None or code.client_id != client.client_id:
            raise Refused("invalid_grant", "The code is unknown, expired or used.")
        if form.get("redirect_uri", code.redirect_uri) != code.redirect_uri:
            raise Refused("invalid_grant", "The redirect_uri is not the one of the authorization request.")
        if not tokens.proves(form.get("code_verifier", ""), code.challenge):
            raise Refused("invalid_grant", "The code_verifier does not fit the code_challenge.")
        self._same_resource(form, code.site, code.server)
        if not await self._store.memberships.allows(code.user, code.site, code.server):
            raise Refused("invalid_grant", "The user has no access to this MCP endpoint.")
        grant = Grant(
            tokens.identifier(),
            code.user,
            code.client_id,
            code.client_name,
            code.site,
            code.server,
            code.resource,
            now,
            now + self._lives.absolute_s,
            now + self._lives.idle_s,
            allowed=code.allowed,
            proof=code.proof,
        )
        access, refresh, reply = self._tokens(grant, now)
        store = self._store.by(audit.client(client.client_id, code.user))
        if not await store.grants.redeem(secret_hash, grant, access, refresh, now):
            raise Refused("invalid_grant", "The code is unknown, expired or used.")
        await self._directory.connected(client, now)
        return reply

    async def _refresh(self, form: dict[str, str], client: Client, now: float) -> Reply:
        found = tokens.parse(form.get("refresh_token", ""))
        holder = None if found is None or not found[0] else await self._store.grants.find_token(found[1])
        if (
            found is None
            or holder is None
            or not hmac.compare_digest(holder.token.secret_hash, found[2])
            or holder.grant.client_id != client.client_id
        ):
            raise Refused("invalid_grant", "The refresh token is unknown, expired or revoked.")
        self._same_resource(form, holder.grant.site, holder.grant.server)
        if holder.disabled or not holder.member:
            raise Refused("invalid_grant", _NO_ACCESS)
        # The setting may have been shortened since.
        ends = min(holder.grant.expires_at, holder.grant.created_at + self._lives.absolute_s)
        if ends <= now:
            raise Refused("invalid_grant", "The grant has ended. The user has to connect the client again.")
        match await self._standings.of(holder.grant.user, now):
            case Standing.ENDED:
                raise Refused("invalid_grant", "The user has to log in again.")
            case Standing.UNKNOWN:
                raise Unproven("The user's identity provider cannot be asked at the moment.")
        # Asked again: the provider may have taken the user out of a group just now.
        if not await self._store.memberships.allows(*_place(holder.grant)):
            raise Refused("invalid_grant", _NO_ACCESS)
        grant = replace(holder.grant, expires_at=ends, idle_at=min(now + self._lives.idle_s, ends))
        access, refresh, reply = self._tokens(grant, now)
        store = self._store.by(audit.client(client.client_id, grant.user))
        if not await store.grants.rotate(found[1], access, refresh, now, tokens.GRACE_S, grant.idle_at):
            raise Refused("invalid_grant", "The refresh token is unknown, expired or revoked.")
        return reply

    def _tokens(self, grant: Grant, now: float) -> tuple[GrantToken, GrantToken, Reply]:
        ends = min(now + self._lives.access_s, grant.expires_at)
        access_text, access = tokens.token(grant.id, now, ends, refresh=False)
        refresh_text, refresh = tokens.token(grant.id, now, grant.expires_at, refresh=True)
        value: dict[str, object] = {
            "access_token": access_text,
            "token_type": "Bearer",
            "expires_in": int(ends - now),
            "refresh_token": refresh_text,
            "scope": SCOPE,
        }
        return access, refresh, web.json(200, value)

    def _same_resource(self, form: dict[str, str], site: str, server: str) -> None:
        url = form.get("resource")
        if url is None:
            return
        resource = resource_of(self._origin, url)
        if resource is None or (resource.site, resource.server) != (site, server):
            raise Refused("invalid_target", "The resource is not the one that the user granted.")


def _place(grant: Grant) -> tuple[str, str, str]:
    return grant.user, grant.site, grant.server


def _error(status: int, code: str, text: str) -> Reply:
    return web.json(status, {"error": code, "error_description": text}, _BASIC if status == 401 else ())


def _unproven(error: Unproven) -> Reply:
    value = {"error": "temporarily_unavailable", "error_description": str(error)}
    return web.json(503, value, (("retry-after", "10"),))


def _too_often(text: str, again_s: int) -> Reply:
    value: dict[str, object] = {"error": "temporarily_unavailable", "error_description": text}
    return web.json(429, value, (("retry-after", str(again_s)),))


def _refusal(error: Refused) -> Reply:
    return _error(401 if error.code == "invalid_client" else 400, error.code, str(error))
