"""Authorization: what a client asks, what its user answers, and the way back (RFC 6749, 4.1)."""

from __future__ import annotations

from urllib.parse import urlsplit

from penstock import log
from penstock_relay import audit
from penstock_relay.audit import Kind
from penstock_relay.oauth import authorize, pages, tokens, web
from penstock_relay.oauth.authorize import Request, Returned, Shown
from penstock_relay.oauth.directory import Directory, UnknownClient
from penstock_relay.oauth.login import Login
from penstock_relay.oauth.visit import AGAIN, Visits
from penstock_relay.oauth.web import Asked, Reply
from penstock_relay.store import Code, Store

_log = log.get(__name__)


class Consent:
    def __init__(self, store: Store, directory: Directory, origin: str, visits: Visits, login: Login) -> None:
        self._store = store
        self._directory = directory
        self._origin = origin
        self._visits = visits
        self._login = login

    async def authorize(self, asked: Asked, now: float) -> Reply:
        """The login page, the consent page, or the way back to the client with an error."""
        visitor = await self._visits.visitor(asked, now)
        request = await self._request(asked.query)
        if isinstance(request, Reply):
            return request
        resource = request.resource
        if visitor.user is None:
            return self._login.page(
                visitor, f"/oauth/authorize?{asked.query}", now,
                client=request.client.name, resource=f"{resource.server} at {resource.site}",
            )  # fmt: skip
        user = visitor.user.name
        if not await self._store.memberships.allows(user, resource.site, resource.server):
            return self._no_access(user)
        granted = await self._store.grants.list(user=user)
        target = urlsplit(request.redirect_uri)
        return pages.page(
            "consent",
            leads_to=request.redirect_uri,
            client=request.client.name,
            host=request.client.host,
            first=all(grant.client_id != request.client.client_id for grant in granted),
            site=resource.site,
            server=resource.server,
            user=user,
            target=f"{target.scheme}://{target.netloc}",
            loopback=target.scheme == "http",
            query=asked.query,
            seal=self._visits.sealed(now, "consent", visitor.browser, user, asked.query),
        )

    async def consent(self, asked: Asked, now: float) -> Reply:
        """The user's decision: the way back to the client, with a code or without."""
        form = asked.form()
        query = form.get("query", "")
        visitor = await self._visits.visitor(asked, now)
        user = visitor.user
        if user is None or not self._visits.fits(form, now, "consent", visitor.browser, user.name, query):
            return pages.problem(400, "Start again", AGAIN)
        request = await self._request(query)
        if isinstance(request, Reply):
            return request
        resource = request.resource
        if not await self._store.memberships.allows(user.name, resource.site, resource.server):
            return self._no_access(user.name)
        store = self._store.by(audit.user(user.name))
        if form.get("decision") != "allow":
            await store.audit.happened(
                Kind.CONSENT_DENIED,
                client=request.client.client_id,
                client_name=request.client.name,
                site=resource.site,
                server=resource.server,
            )
            return self._back(request, error="access_denied", error_description="The user did not allow it.")
        code = tokens.secret()
        await store.grants.add_code(
            Code(
                tokens.digest(code), user.name, request.client.client_id, request.client.name,
                request.redirect_uri, request.challenge, request.resource_url, resource.site, resource.server,
                now, now + tokens.CODE_S,
            )
        )  # fmt: skip
        _log.info("consent", user=user.name, site=resource.site, server=resource.server)
        return self._back(request, code=code)

    async def _request(self, query: str) -> Request | Reply:
        """The authorization request in `query`, or what its fault leads to."""
        try:
            given = web.fields(query)
            client = await self._directory.find(given.get("client_id", ""))
            uri = authorize.redirect_uri(given, client)
        except (web.BadForm, UnknownClient, Shown) as error:
            return pages.problem(400, "This request cannot be answered", str(error))
        try:
            return authorize.judge(given, client, uri, self._origin)
        except Returned as error:
            state = given.get("state") if len(given.get("state", "")) <= authorize.MAX_STATE else None
            values = {"error": error.code, "error_description": str(error)}
            return web.redirect(authorize.answer(uri, state, self._origin, **values))

    def _back(self, request: Request, **values: str) -> Reply:
        return web.redirect(authorize.answer(request.redirect_uri, request.state, self._origin, **values))

    def _no_access(self, user: str) -> Reply:
        # The same for a site that does not exist: who may not use it learns nothing of it.
        return pages.problem(
            403,
            "You have no access",
            f"You are logged in as {user}, who may not use this MCP server. Check the URL that you gave to "
            "the application, or ask the relay's operator for access.",
        )
