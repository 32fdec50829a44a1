"""What users see of their own: the applications that they connected, and the way out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from penstock import log
from penstock.allowance import Allowance, Later
from penstock_relay import audit
from penstock_relay.access import user_principal
from penstock_relay.audit import Kind
from penstock_relay.oauth import choice, pages, web
from penstock_relay.oauth.login import Login
from penstock_relay.oauth.metadata import Resource
from penstock_relay.oauth.offers import Sites
from penstock_relay.oauth.visit import AGAIN, Visits
from penstock_relay.oauth.web import Asked, Reply
from penstock_relay.store import Grant, Store

_log = log.get(__name__)


class Account:
    def __init__(
        self,
        store: Store,
        visits: Visits,
        login: Login,
        sites: Sites,
        *,
        later: bool = True,
        factors: bool = True,
    ) -> None:
        """`later`: whether users may allow tools that a site adds later. `factors`: whether there are second
        factors for users of this relay's own.
        """
        self._store = store
        self._visits = visits
        self._login = login
        self._sites = sites
        self._later = later
        self._factors = factors

    async def grants(self, asked: Asked, now: float) -> Reply:
        """The list, and the end of one of them."""
        visitor = await self._visits.visitor(asked, now)
        if visitor.user is None:
            return self._login.page(visitor, "/oauth/grants", now)
        user = visitor.user.name
        if asked.method == "POST":
            form = asked.form()
            if not self._visits.fits(form, now, "grants", visitor.browser, user):
                return pages.problem(400, "Start again", AGAIN)
            if any(grant.id == form.get("grant") for grant in await self._store.grants.list(user=user)):
                await self._store.by(audit.user(user)).grants.revoke(form["grant"], now)
            return web.redirect("/oauth/grants")
        shown = [
            {
                "id": grant.id,
                "client": grant.client_name,
                "where": Resource(grant.site, grant.server).title,
                "since": datetime.fromtimestamp(grant.created_at, UTC).date().isoformat(),
                "allowed": choice.in_words(_allowance(grant)),
            }
            for grant in await self._store.grants.list(user=user)
            if _lives(grant, now)
        ]
        seal = self._visits.sealed(now, "grants", visitor.browser, user)
        factor = visitor.user.factor if self._factors and visitor.user.issuer is None else None
        return pages.page("grants", user=user, grants=shown, seal=seal, factor=factor)

    async def grant(self, asked: Asked, now: float) -> Reply:
        """What one application may use: shown, and changed. Takes effect within a second."""
        visitor = await self._visits.visitor(asked, now)
        posted = asked.method == "POST"
        form = asked.form() if posted else web.fields(asked.query)
        id, shown = form.get("grant", ""), form.get("shown", "")
        if visitor.user is None:
            return self._login.page(visitor, "/oauth/grants", now)
        user = visitor.user
        if posted and not self._visits.fits(form, now, "grant", visitor.browser, user.name, id, shown):
            return pages.problem(400, "Start again", AGAIN)
        (grant,) = [g for g in await self._store.grants.list(user=user.name) if g.id == id] or (None,)
        if grant is None or not _lives(grant, now):
            return pages.problem(404, "It is not connected", "That application is not connected any more.")
        if grant.proof is not None:
            return pages.problem(
                409, "It was signed as it is",
                f"Your company's login has signed what {grant.client_name} may use of {grant.server}. "
                "Disconnect it and connect it again to allow something else.",
            )  # fmt: skip
        if posted and "tick" not in form:
            if form.get("decision") == "save":
                (allowed,) = choice.chosen(form, choice.parse_shown(shown), later=self._later).values()
                await self._store.by(audit.user(user.name)).grants.allow(id, allowed.dump().decode())
                _log.info("grant_changed", user=user.name, site=grant.site, server=grant.server or None)
            return web.redirect("/oauth/grants")
        person = await self._store.people.person(user)
        caller = user_principal(user.name, user.email, grant.client_id, person=person)
        offer = None
        if await self._store.memberships.allows(user.name, grant.site, grant.server):
            offer = await self._sites.offer(caller, grant.site, grant.server)
        block = choice.block(grant.server, offer)
        allowance = _allowance(grant)
        ticks = allowance or Allowance(later=Later.ALL, others=True)
        if "tick" in form:
            ticks = choice.ticked_by(form["tick"]) or Allowance(later=Later.READ_ONLY)
        shown = choice.shown([block])
        return pages.page(
            "grant",
            grant=id,
            client=grant.client_name,
            site=grant.site,
            server=grant.server,
            where=Resource(grant.site, grant.server).title,
            user=user.name,
            now_allowed=choice.in_words(allowance),
            silent=offer is None,
            blocks=[(block, choice.groups(0, block, ticks))],
            later=self._later and block.whole,
            later_now=form.get("later", (allowance or Allowance(later=Later.ALL)).later.value),
            shown=shown,
            seal=self._visits.sealed(now, "grant", visitor.browser, user.name, id, shown),
        )

    async def logout(self, asked: Asked, now: float) -> Reply:
        """Ends the login of this browser, at the relay too."""
        form = asked.form()
        visitor = await self._visits.visitor(asked, now)
        user = visitor.user
        if user is None or not self._visits.fits(form, now, "grants", visitor.browser, user.name):
            return pages.problem(400, "Start again", AGAIN)
        await self._store.by(audit.user(user.name)).audit.happened(Kind.LOGOUT)
        reply = pages.problem(200, "You are logged out", "Applications that you connected go on working.")
        return replace(reply, headers=(*reply.headers, *await self._visits.leave(visitor, now)))


def _lives(grant: Grant, now: float) -> bool:
    return grant.revoked_at is None and min(grant.expires_at, grant.idle_at) > now


def _allowance(grant: Grant) -> Allowance | None:
    return None if grant.allowed is None else Allowance.parse(grant.allowed.encode())
