"""A person with a browser: opens links, fills forms in, keeps cookies. Over real HTTP, without scripts."""

from __future__ import annotations

import html
import re
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2

_FORM = re.compile(r'<form method="post" action="([^"]*)">(.*?)</form>', re.DOTALL)
_INPUT = re.compile(r"<input ([^>]*)>")
_ATTRIBUTE = re.compile(r'([a-z-]+)="([^"]*)"')


class Person:
    """`origin` is the relay's; a redirect that leaves it is not followed, but returned."""

    def __init__(
        self,
        origin: str,
        name: str,
        password: str,
        transport: httpx2.AsyncBaseTransport | None = None,
        cookies: httpx2.Cookies | None = None,
    ) -> None:
        """`cookies` are those that an earlier visit left in `self.cookies`."""
        self.origin = origin
        self.name = name
        self.password = password
        self._http = httpx2.AsyncClient(timeout=20, trust_env=False, transport=transport, cookies=cookies)
        self.page: httpx2.Response | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    @property
    def cookies(self) -> httpx2.Cookies:
        """What the browser keeps, by name."""
        return self._http.cookies

    async def open(self, url: str) -> str | None:
        """Shows what is at `url`; where it leads to when that is not the relay."""
        return await self._go(self._http.build_request("GET", url))

    async def submit(self, **filled: str) -> str | None:
        """Fills the first form of the page in and sends it."""
        assert self.page is not None
        form = _FORM.search(self.page.text)
        assert form is not None, self.page.text
        standing = filled_in(form[2])
        action = urljoin(str(self.page.url), html.unescape(form[1]))
        headers = {"origin": self.origin}  # as browsers send it with every form
        request = self._http.build_request("POST", action, data={**standing, **filled}, headers=headers)
        return await self._go(request)

    async def accept_invitation(self, link: str) -> None:
        """Chooses the password."""
        await self.open(link)
        await self.submit(password=self.password, again=self.password)
        assert self.page is not None
        assert self.page.status_code == 200, self.page.text

    async def allow(self, url: str, *tools: str) -> str:
        """Logs in if need be, allows `tools` or all that `url` asks; the client's callback with its code."""
        await self._asked(url)
        await self.submit(tick="none" if tools else "all")
        return await self._decide("allow", **dict.fromkeys(map(self.box, tools), "on"))

    async def deny(self, url: str) -> str:
        """Logs in if need be and says no; the client's callback URL with the error."""
        await self._asked(url)
        return await self._decide("deny")

    async def disconnect_all(self) -> None:
        """Ends every grant on the page of connected applications. Logs in if need be."""
        await self.open(f"{self.origin}/oauth/grants")
        assert self.page is not None
        if 'name="password"' in self.page.text:
            await self.submit(name=self.name, password=self.password)
        while 'name="grant"' in self.page.text:
            await self.submit()

    async def _asked(self, url: str) -> None:
        left = await self.open(url)
        assert left is None, left
        assert self.page is not None
        if 'name="password"' in self.page.text:
            await self.submit(name=self.name, password=self.password)

    async def _decide(self, decision: str, **ticked: str) -> str:
        left = await self.submit(decision=decision, **ticked)
        assert left is not None, "" if self.page is None else self.page.text
        return left

    def box(self, label: str) -> str:
        """The name of the check box with this label."""
        assert self.page is not None
        found = re.search(rf'<label for="([^"]*)"><bdi>{re.escape(label)}</bdi>', self.page.text)
        assert found is not None, self.page.text
        return found[1]

    async def _go(self, request: httpx2.Request) -> str | None:
        for _ in range(10):
            self.page = await self._http.send(request)
            if self.page.status_code != 303:
                return None
            target = urljoin(str(self.page.url), self.page.headers["location"])
            if not target.startswith(self.origin + "/"):
                return target
            request = self._http.build_request("GET", target)
        raise AssertionError("the redirects never end")


def filled_in(form: str) -> dict[str, str]:
    """What a form sends as it stands: hidden fields, and what is ticked."""
    found = {}
    for tag in _INPUT.findall(form):
        one = {name: html.unescape(value) for name, value in _ATTRIBUTE.findall(tag)}
        kind = one.get("type")
        if kind == "hidden" or (kind in ("checkbox", "radio") and " checked" in tag):
            found[one["name"]] = one.get("value", "on")
    return found


def answered(callback: str) -> dict[str, str]:
    """What the query of a client's callback says."""
    return {name: values[0] for name, values in parse_qs(urlsplit(callback).query).items()}
