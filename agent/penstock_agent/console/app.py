"""The console as a web server, on 127.0.0.1, for one browser and for no longer than it is used."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final
from urllib.parse import quote

from aiohttp import web

from penstock_agent.console import access, forms, pages
from penstock_agent.console.access import COOKIE, Door, Session
from penstock_agent.console.views import Asked, Ending, Values, Views, entry_of
from penstock_agent.ledger import checking
from penstock_agent.problem import Problem

HOST: Final = "127.0.0.1"
LOOK_EVERY_S: Final = 5.0
"""Seconds between looks whether the console is over."""
CLOSING_S: Final = 2.0
"""Seconds that requests get to finish when it is."""

_AGAIN: Final = (
    "This console is open in another browser, or its link was used already. For a new link, press Enter in "
    "the terminal where it runs, or start it again: penstock-agent console"
)
Handler = Callable[[web.Request, Session], Awaitable[web.Response]]

# What strangers send to the port is nothing to write on the terminal of the console's owner.
_silent = logging.getLogger(__name__)
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


class Console:
    """One run of it."""

    def __init__(self, views: Views, door: Door) -> None:
        self._views = views
        self._door = door
        self._tasks: asyncio.TaskGroup | None = None
        self.port = 0
        self._over = asyncio.Event()

    @property
    def ours(self) -> str:
        """Host and port."""
        return f"{HOST}:{self.port}"

    def link(self) -> str:
        """A link that works once."""
        return f"http://{self.ours}/enter#{self._door.link()}"

    @contextlib.asynccontextmanager
    async def listening(self, port: int) -> AsyncIterator[None]:
        """Raises Problem for a port that cannot be had."""
        runner = web.AppRunner(
            self._application(),
            access_log=None,
            handle_signals=False,
            shutdown_timeout=CLOSING_S,
            logger=_silent,
        )
        await runner.setup()
        failed: Exception | None = None
        try:
            await self._listen(runner, port)
            async with asyncio.TaskGroup() as self._tasks:
                try:
                    yield
                except Exception as error:
                    failed = error  # goes on as it is, and not in a group
                self._views.end()
        finally:
            self._views.end()
            await runner.cleanup()
        if failed is not None:
            raise failed

    async def _listen(self, runner: web.AppRunner, port: int) -> None:
        try:
            await web.TCPSite(runner, HOST, port).start()
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise Problem(f"Port {port} cannot be had: {why}. Give another, or none: --port 0") from None
        self.port = runner.addresses[0][1]

    async def over(self) -> bool:
        """Wait until somebody ends it, or nobody uses it any more. Whether it was the latter."""
        while not self._door.over:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._over.wait()
        return not self._door.closed

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[self._guard], client_max_size=forms.MAX_BYTES)
        app.router.add_get("/enter", self._enter_page)
        app.router.add_post("/enter", self._enter)
        for name, kind in pages.STATIC.items():
            app.router.add_get(f"/{name}", self._static(name, kind))
        for path, handler in self._routes().items():
            app.router.add_get("/{place}" + path, self._inside(handler))
        app.router.add_post("/{place}/{action}", self._inside(self._act))
        return app

    def _routes(self) -> dict[str, Handler]:
        return {
            "/": self._overview,
            "/stop": self._stop,
            "/tools": self._tools,
            "/tools/{name}": self._server,
            "/approvals": self._approvals,
            "/approvals/{id}": self._approval,
            "/ledger": self._ledger,
            "/report": self._report,
            "/report.html": self._report_file,
        }

    # -- around every request

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        headers = request.headers
        why = access.foreign(request.method, headers.get("Host", ""), headers.get("Origin", ""), self.ours)
        if why or len(headers.getall("Host", [])) > 1:
            answer: web.StreamResponse = _problem(403, "Not from here", why or "There are two hosts.")
        else:
            try:
                answer = await handler(request)
            except web.HTTPException as error:
                text = "Go back to the overview, or start the console again: penstock-agent console"
                answer = _problem(error.status, error.reason, text)
            except Problem as problem:
                answer = _problem(400, "That did not work", str(problem), _back(request))
            except Ending:
                answer = _problem(503, "The console ends", "To open it again: penstock-agent console")
            except Exception as error:
                text = f"The console failed at this ({type(error).__name__}). The same is to be had in the "
                text += "terminal: penstock-agent status, top, approvals, tools review, ledger show"
                answer = _problem(500, "That did not work", text, _back(request))
        answer.headers.update(pages.ALWAYS)
        return answer

    def _inside(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
        """For who is in."""

        async def handle(request: web.Request) -> web.Response:
            place, cookie = request.match_info["place"], request.cookies.get(COOKIE, "")
            if why := access.led_here(request.headers.get("Sec-Fetch-Site", "")):
                return _problem(403, "Not from here", why)
            session = self._door.session(place, cookie)
            if session is None:
                return _problem(403, "You are not in", _AGAIN)
            if "X-Refresh" not in request.headers:
                self._door.used()  # a page that is left open does not keep the console alive
            return await handler(request, session)

        return handle

    def _page(
        self, request: web.Request, session: Session, template: str, here: str, values: Values
    ) -> web.Response:
        said = None
        if "X-Refresh" not in request.headers:
            said, session.said = session.said, None
        text = pages.page(
            template,
            base=f"/{session.place}",
            seal=session.seal,
            here=here,
            said=said,
            user=checking.name_of,
            **values,
        )
        return _html(text)

    # -- getting in

    async def _enter_page(self, request: web.Request) -> web.Response:
        return _html(pages.page("enter", problem=""))

    async def _enter(self, request: web.Request) -> web.Response:
        code = (await _form(request)).get("code", "")
        session = self._door.enter(code.strip().rpartition("#")[2])
        if session is None:
            text = (
                "This code is not good: it was used, it is older than two minutes, or not whole. For a new "
                "one, press Enter in the terminal where the console runs, or start it again: penstock-agent "
                "console"
            )
            return _html(pages.page("enter", problem=text), 403)
        answer = _to(f"/{session.place}/")
        answer.set_cookie(COOKIE, session.cookie, path=f"/{session.place}/", httponly=True, samesite="Strict")
        return answer

    def _static(self, name: str, kind: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            return web.Response(text=pages.static(name), content_type=kind, charset="utf-8")

        return handle

    # -- pages

    async def _overview(self, request: web.Request, session: Session) -> web.Response:
        return self._page(request, session, "overview", "", await self._views.overview())

    async def _stop(self, request: web.Request, session: Session) -> web.Response:
        entry = entry_of(request.query)
        values: Values = {"what": entry.what, "kind": entry.kind.value, "name": entry.name}
        return self._page(request, session, "stop", "stop", values)

    async def _tools(self, request: web.Request, session: Session) -> web.Response:
        return self._page(request, session, "tools", "tools", await self._views.tools())

    async def _server(self, request: web.Request, session: Session) -> web.Response:
        values = await self._views.server(request.match_info["name"])
        return self._page(request, session, "server", "tools", values)

    async def _approvals(self, request: web.Request, session: Session) -> web.Response:
        return self._page(request, session, "approvals", "approvals", await self._views.approvals())

    async def _approval(self, request: web.Request, session: Session) -> web.Response:
        values = await self._views.approvals(request.match_info["id"])
        return self._page(request, session, "approvals", "approvals", values)

    async def _ledger(self, request: web.Request, session: Session) -> web.Response:
        values = await self._views.ledger(Asked.of(request.query))
        return self._page(request, session, "ledger", "ledger", values)

    async def _report(self, request: web.Request, session: Session) -> web.Response:
        values = await self._views.report(Asked.of(request.query).since)
        return self._page(request, session, "report", "ledger", values)

    async def _report_file(self, request: web.Request, session: Session) -> web.Response:
        text = await self._views.report_file(Asked.of(request.query).since)
        headers = {"Content-Disposition": 'attachment; filename="report.html"'}
        return web.Response(text=text, content_type="text/html", charset="utf-8", headers=headers)

    # -- what changes something

    async def _act(self, request: web.Request, session: Session) -> web.Response:
        form = await _form(request)
        if not access.sealed(session, form.get("seal", "")):
            return _problem(403, "That form is old", "Open the page again.", f"/{session.place}/")
        form = forms.restored(form)
        action = request.match_info["action"]
        if action == "end":
            self._door.closed = True
            self._over.set()
            return _problem(200, "The console has ended", "To open it again: penstock-agent console")
        if action == "verify" and self._tasks is not None:
            self._tasks.create_task(self._views.verify())
            return _to(f"/{session.place}/ledger")
        try:
            session.said = True, await self._views.act(action, form)
        except Problem as problem:
            session.said = False, str(problem)
        server = quote(form.get("server", ""), safe="")
        after = {"approve": "approvals", "deny": "approvals", "pin": f"tools/{server}"}
        return _to(f"/{session.place}/{after.get(action, '')}")


async def _form(request: web.Request) -> dict[str, str]:
    return forms.fields(request.content_type, await request.read())


def _back(request: web.Request) -> str:
    place = request.match_info.get("place", "")
    return f"/{place}/" if place else ""


def _html(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")


def _problem(status: int, title: str, text: str, back: str = "") -> web.Response:
    return _html(pages.page("problem", title=title, text=text, back=back), status)


def _to(path: str) -> web.Response:
    return web.Response(status=303, headers={"Location": path})
