"""What users see of their own: the applications that they connected, and the way out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from penstock_relay import audit
from penstock_relay.audit import Kind
from penstock_relay.oauth import pages, web
from penstock_relay.oauth.login import Login
from penstock_relay.oauth.visit import AGAIN, Visits
from penstock_relay.oauth.web import Asked, Reply
from penstock_relay.store import Store


class Account:
    def __init__(self, store: Store, visits: Visits, login: Login) -> None:
        self._store = store
        self._visits = visits
        self._login = login

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
                "site": grant.site,
                "server": grant.server,
                "since": datetime.fromtimestamp(grant.created_at, UTC).date().isoformat(),
            }
            for grant in await self._store.grants.list(user=user)
            if grant.revoked_at is None and min(grant.expires_at, grant.idle_at) > now
        ]
        seal = self._visits.sealed(now, "grants", visitor.browser, user)
        return pages.page("grants", user=user, grants=shown, seal=seal)

    async def logout(self, asked: Asked, now: float) -> Reply:
        """Forgets who is logged in here."""
        form = asked.form()
        visitor = await self._visits.visitor(asked, now)
        user = visitor.user
        if user is None or not self._visits.fits(form, now, "grants", visitor.browser, user.name):
            return pages.problem(400, "Start again", AGAIN)
        await self._store.by(audit.user(user.name)).audit.happened(Kind.LOGOUT)
        reply = pages.problem(200, "You are logged out", "Applications that you connected go on working.")
        return replace(reply, headers=(*reply.headers, *self._visits.leave()))
