"""Authorization: what a client asks, what its user answers, and the way back (RFC 6749, 4.1).

A user chooses tools. The site says which there are, at the moment when the page is shown; a site that is
silent keeps nobody from connecting. One page may cover several servers of a site: what is allowed there is
kept for an hour, until the client comes for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urlsplit

from penstock import log
from penstock.allowance import Allowance
from penstock.names import WHOLE_SITE
from penstock.voucher import Voucher, nonce
from penstock_relay import audit
from penstock_relay.access import user_principal
from penstock_relay.audit import Kind
from penstock_relay.oauth import authorize, choice, pages, tokens, web
from penstock_relay.oauth.authorize import Request, Returned, Shown
from penstock_relay.oauth.directory import Directory, TooMany, UnknownClient
from penstock_relay.oauth.limits import TOO_OFTEN
from penstock_relay.oauth.login import Login
from penstock_relay.oauth.naming import name_warning
from penstock_relay.oauth.offers import Sites
from penstock_relay.oauth.upstream.login import Arrival, UpstreamLogin
from penstock_relay.oauth.vendors import takes_answers
from penstock_relay.oauth.visit import AGAIN, FORM_S, Visitor, Visits
from penstock_relay.oauth.web import Asked, Reply
from penstock_relay.store import Code, Store, User
from penstock_relay.store import Consent as Ahead

AHEAD_S: Final = 3600.0
"""How long a client may take to come for a further server that its user allowed."""

SIGN: Final = "/oauth/sign"
GRANT: Final = "grant"
"""The purpose of a login whose ID token signs a grant."""

_NOTHING: Final = "You chose nothing. Tick what the application may use, or do not allow it."

_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class _Form:
    """An authorization request in front of its user."""

    visitor: Visitor
    user: User
    request: Request
    query: str


class Consent:
    def __init__(
        self,
        store: Store,
        directory: Directory,
        origin: str,
        visits: Visits,
        login: Login,
        sites: Sites,
        *,
        later: bool = True,
        provider: UpstreamLogin | None = None,
    ) -> None:
        """`later`: whether users may allow tools that a site adds later. `provider`: what signs grants."""
        self._provider = provider
        self._store = store
        self._directory = directory
        self._origin = origin
        self._visits = visits
        self._login = login
        self._sites = sites
        self._later = later

    async def authorize(self, asked: Asked, now: float) -> Reply:
        """The login page, the consent page, or the way back to the client."""
        visitor = await self._visits.visitor(asked, now)
        request = await self._request(asked.query, asked, now)
        if isinstance(request, Reply):
            return request
        resource = request.resource
        warning = name_warning(request.client, request.redirect_uri)
        if visitor.user is None:
            return self._login.page(
                visitor, f"/oauth/authorize?{asked.query}", now,
                client=request.client.name, warning=warning, resource=resource.title,
            )  # fmt: skip
        user = visitor.user
        if not await self._may(user, resource.server, request):
            return pages.no_access(user.name, whole_site=resource.server == WHOLE_SITE)
        if not request.asks_again:
            client = request.client.client_id
            ahead = await self._store.consents.take(
                user.name, client, request.redirect_uri, resource.site, resource.server, now
            )
            if ahead is not None:
                return await self._allowed(user, request, ahead, now)
        return await self._page(_Form(visitor, user, request, asked.query), now)

    async def consent(self, asked: Asked, now: float) -> Reply:
        """The user's decision: the way back to the client, with a code or without."""
        form = asked.form()
        query, shown, challenge = form.get("query", ""), form.get("shown", ""), form.get("challenge", "")
        visitor = await self._visits.visitor(asked, now)
        user = visitor.user
        if user is None or not self._visits.fits(
            form, now, "consent", visitor.browser, user.name, query, shown, challenge
        ):
            return pages.problem(400, "Start again", AGAIN)
        request = await self._request(query, asked, now)
        if isinstance(request, Reply):
            return request
        if not await self._may(user, request.resource.server, request):
            return pages.no_access(user.name, whole_site=request.resource.server == WHOLE_SITE)
        if "tick" in form:
            return await self._page(_Form(visitor, user, request, query), now, form)
        if form.get("decision") != "allow":
            await self._store.by(audit.user(user.name)).audit.happened(
                Kind.CONSENT_DENIED,
                client=request.client.client_id,
                client_name=request.client.name,
                site=request.resource.site,
                server=request.resource.server or None,
            )
            return self._back(request, error="access_denied", error_description="The user did not allow it.")
        lines = choice.parse_shown(shown)
        allowed = choice.chosen(form, lines, later=self._later)
        first = allowed.pop(request.resource.server)
        if first == Allowance() and lines[request.resource.server]:
            return await self._page(_Form(visitor, user, request, query), now, form, wrong=_NOTHING)
        for server, allowance in allowed.items():
            if allowance != Allowance() and await self._may(user, server, request):
                await self._put_ahead(user, request, server, allowance, now)
        if challenge:
            return await self._to_be_signed(_Form(visitor, user, request, query), first, challenge, now)
        return await self._allowed(user, request, first.dump().decode(), now)

    async def _put_ahead(
        self, user: User, request: Request, server: str, allowance: Allowance, now: float
    ) -> None:
        client, site = request.client.client_id, request.resource.site
        text = allowance.dump().decode()
        ahead = Ahead(user.name, client, request.redirect_uri, site, server, text, now + AHEAD_S)
        await self._store.by(audit.user(user.name)).consents.put(ahead, now)

    # -- what the company's provider signs ------------------------------------------------------------

    async def _to_be_signed(self, on: _Form, allowance: Allowance, challenge: str, now: float) -> Reply:
        """The site takes no relay's word for a grant: keeps it until the provider has signed it."""
        request, user, resource = on.request, on.user, on.request.resource
        if self._provider is None or await self._store.people.person(user) is None:
            return pages.problem(
                403, "Your company's login is needed",
                f"The administrators of {resource.site} let nobody use {resource.server} whose grant your "
                "company's login has not signed, and you are not logged in through that. "
                + ("Log out of this browser, and log in there." if self._provider is not None else
                   "This relay has none: ask its operator for the setting upstream."),
            )  # fmt: skip
        text = allowance.dump().decode()
        waits = Ahead(
            user.name, request.client.client_id, request.redirect_uri, resource.site, resource.server, text,
            now + FORM_S, challenge,
        )  # fmt: skip
        await self._store.by(audit.user(user.name)).consents.put(waits, now)
        seal = self._visits.sealed(now, "sign", on.visitor.browser, user.name, on.query)
        # A link, not a redirect: a form may lead only where its page says.
        return pages.page(
            "sign", label=self._provider.label, site=resource.site, server=resource.server,
            client=request.client.name, link=f"{SIGN}?{urlencode({'query': on.query, 'seal': seal})}",
        )  # fmt: skip

    async def sign(self, asked: Asked, now: float) -> Reply:
        """The way to the provider, whose ID token shall hold the hash of the grant."""
        given = web.fields(asked.query)
        query = given.get("query", "")
        visitor = await self._visits.visitor(asked, now)
        user = visitor.user
        if user is None or not self._visits.fits(given, now, "sign", visitor.browser, user.name, query):
            return pages.problem(400, "Start again", AGAIN)
        request = await self._request(query, asked, now)
        if isinstance(request, Reply):
            return request
        waits = await self._waiting(user, request, now)
        if waits is None or self._provider is None:
            return pages.problem(400, "Start again", AGAIN)
        onward = f"/oauth/authorize?{query}"
        return await self._provider.begin(visitor, onward, now, purpose=GRANT, nonce=_nonce(waits))

    async def signed(self, arrival: Arrival, now: float) -> Reply:
        """The user is back from the provider, which has signed what the nonce says."""
        _, _, query = arrival.attempt.onward.partition("?")
        request = await self._request(query, Asked("GET", "/oauth/authorize", query), now)
        if isinstance(request, Reply):
            return request
        user = arrival.user
        waits = await self._waiting(user, request, now)
        if waits is None or waits.challenge is None or _nonce(waits) != arrival.attempt.nonce:
            return pages.problem(400, "Start again", AGAIN)
        if not await self._may(user, request.resource.server, request):
            return pages.no_access(user.name, whole_site=request.resource.server == WHOLE_SITE)
        await self._store.consents.forget(waits)
        proof = Voucher(waits.challenge, arrival.id_token).dump().decode()
        return await self._allowed(user, request, waits.allowed, now, proof)

    async def _waiting(self, user: User, request: Request, now: float) -> Ahead | None:
        resource, client = request.resource, request.client.client_id
        return await self._store.consents.unsigned(
            user.name, client, request.redirect_uri, resource.site, resource.server, now
        )

    async def _allowed(
        self, user: User, request: Request, allowed: str, now: float, proof: str | None = None
    ) -> Reply:
        code, resource = tokens.secret(), request.resource
        await self._store.by(audit.user(user.name)).grants.add_code(
            Code(
                tokens.digest(code), user.name, request.client.client_id, request.client.name,
                request.redirect_uri, request.challenge, request.resource_url, resource.site, resource.server,
                now, now + tokens.CODE_S, allowed=allowed, proof=proof,
            )
        )  # fmt: skip
        _log.info("consent", user=user.name, site=resource.site, server=resource.server or None)
        return self._back(request, code=code)

    async def _page(
        self, on: _Form, now: float, form: Mapping[str, str] | None = None, wrong: str = ""
    ) -> Reply:
        """The page, with the ticks of `form` where it was sent already."""
        request, user = on.request, on.user
        site, server = request.resource.site, request.resource.server
        if self._sites.lacks(site, server):
            return pages.problem(
                404, "There is no such server",
                f"The site {site} has no MCP server called {server} at the moment. Check the URL that you "
                "gave to the application, or ask the site's administrator.",
            )  # fmt: skip
        blocks = await self._blocks(on)
        shown = choice.shown(blocks)
        granted = await self._store.grants.list(user=user.name)
        target = urlsplit(request.redirect_uri)
        silent = blocks[0].offer is None
        challenge = "" if blocks[0].offer is None else blocks[0].offer.challenge
        if challenge and server == WHOLE_SITE:
            # What is signed is the grant of one server (penstock.voucher).
            return pages.problem(
                403, "Connect its servers one by one",
                f"The administrators of {site} let nobody use a server whose grant your company's login has "
                "not signed, and it signs for each server alone. Give the application the URL of one server, "
                f"{self._origin}/{site}/SERVER/mcp.",
            )  # fmt: skip
        ticks = None if form is None else choice.ticked_by(form.get("tick", ""))
        return pages.page(
            "consent",
            400 if wrong else 200,
            leads_to=request.redirect_uri,
            wrong=wrong,
            client=request.client.name,
            host=request.client.host,
            warning=name_warning(request.client, request.redirect_uri),
            first=all(grant.client_id != request.client.client_id for grant in granted),
            site=site,
            where=request.resource.title,
            server=server,
            user=user.name,
            target=f"{target.scheme}://{target.netloc}",
            loopback=target.scheme == "http",
            silent=silent,
            blocks=[] if silent else [
                # Further servers are only what the user asks for: nothing of them is ticked from the start.
                (block, choice.groups(index, block, ticks if index == 0 else (ticks or Allowance())))
                for index, block in enumerate(blocks)
            ],
            later=self._later and all(block.whole for block in blocks),
            later_now="none" if form is None else form.get("later", "none"),
            query=on.query,
            shown=shown,
            challenge=challenge,
            seal=self._visits.sealed(
                now, "consent", on.visitor.browser, user.name, on.query, shown, challenge
            ),
        )  # fmt: skip

    async def _blocks(self, on: _Form) -> list[choice.Block]:
        """The server that was asked for, and those that may be allowed with it; all asked at once."""
        request, user, resource = on.request, on.user, on.request.resource
        servers = [resource.server]
        # Not for programs on the user's computer: which one comes for it next cannot be told (RFC 8252, 8.6).
        # Nor beside the whole site, of which they are.
        if request.redirect_uri.startswith("https:") and resource.server != WHOLE_SITE:
            names = sorted(self._sites.servers(resource.site) - {resource.server})
            servers += [name for name in names if await self._may(user, name, request)]
        person = await self._store.people.person(user)
        caller = user_principal(user.name, user.email, request.client.client_id, person=person)
        asked = servers[: choice.MAX_SERVERS]
        offers = await asyncio.gather(*(self._sites.offer(caller, resource.site, name) for name in asked))
        blocks = [choice.block(name, offer) for name, offer in zip(asked, offers, strict=True)]
        # What has to be signed is signed for itself: each such server has a page of its own.
        further = [each for each in blocks[1:] if each.offer is not None and not each.offer.challenge]
        return choice.fitting([blocks[0], *further])

    async def _may(self, user: User, server: str, request: Request) -> bool:
        return await self._store.memberships.allows(user.name, request.resource.site, server)

    async def _request(self, query: str, asked: Asked, now: float) -> Request | Reply:
        """The authorization request in `query`, or what its fault leads to."""
        try:
            given = web.fields(query)
            client = await self._directory.find(given.get("client_id", ""), asked.peer, now)
            uri = authorize.redirect_uri(given, client)
        except TooMany:
            return pages.problem(429, "Not now", TOO_OFTEN)
        except (web.BadForm, UnknownClient, Shown) as error:
            return pages.problem(400, "This request cannot be answered", str(error))
        try:
            return authorize.judge(given, client, uri, self._origin)
        except Returned as error:
            state = given.get("state") if len(given.get("state", "")) <= authorize.MAX_STATE else None
            values = {"error": error.code, "error_description": str(error)}
            answer = authorize.answer(uri, state, self._origin, **values)
            if takes_answers(uri):
                return web.redirect(answer)
            # Anybody may register, with any host: nobody is sent there without a click (RFC 9700, 4.11.2).
            target = urlsplit(uri)
            return pages.page(
                "onward", 400, client=client.name, why=str(error), onward=answer,
                target=f"{target.scheme}://{target.netloc}",
            )  # fmt: skip

    def _back(self, request: Request, **values: str) -> Reply:
        return web.redirect(authorize.answer(request.redirect_uri, request.state, self._origin, **values))


def _nonce(waits: Ahead) -> str:
    grant = waits.allowed.encode()
    return nonce(waits.site, waits.server, waits.client_id, grant, waits.challenge or "")
