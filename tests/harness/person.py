"""A person with a browser: opens links, fills forms in, keeps cookies. Over real HTTP, without scripts."""

from __future__ import annotations

import html
import re
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2

_FORM = re.compile(r'<form method="post" action="([^"]*)">(.*?)</form>', re.DOTALL)
_HIDDEN = re.compile(r'<input type="hidden" name="([^"]*)" value="([^"]*)"')


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
        self.cookies = self._http.cookies
        self.page: httpx2.Response | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def open(self, url: str) -> str | None:
        """Shows what is at `url`; where it leads to when that is not the relay."""
        return await self._go(self._http.build_request("GET", url))

    async def submit(self, **filled: str) -> str | None:
        """Fills the first form of the page in and sends it."""
        assert self.page is not None
        form = _FORM.search(self.page.text)
        assert form is not None, self.page.text
        hidden = {name: html.unescape(value) for name, value in _HIDDEN.findall(form[2])}
        action = urljoin(str(self.page.url), html.unescape(form[1]))
        headers = {"origin": self.origin}  # as browsers send it with every form
        request = self._http.build_request("POST", action, data={**hidden, **filled}, headers=headers)
        return await self._go(request)

    async def accept_invitation(self, link: str) -> None:
        """Chooses the password."""
        await self.open(link)
        await self.submit(password=self.password, again=self.password)
        assert self.page is not None
        assert self.page.status_code == 200, self.page.text

    async def allow(self, url: str) -> str:
        """Logs in if need be and allows what is asked at `url`; the client's callback URL with its code."""
        return await self._decide(url, "allow")

    async def deny(self, url: str) -> str:
        """Logs in if need be and says no; the client's callback URL with the error."""
        return await self._decide(url, "deny")

    async def disconnect_all(self) -> None:
        """Ends every grant on the page of connected applications. Logs in if need be."""
        await self.open(f"{self.origin}/oauth/grants")
        assert self.page is not None
        if 'name="password"' in self.page.text:
            await self.submit(name=self.name, password=self.password)
        while 'name="grant"' in self.page.text:
            await self.submit()

    async def _decide(self, url: str, decision: str) -> str:
        left = await self.open(url)
        assert left is None, left
        assert self.page is not None
        if 'name="password"' in self.page.text:
            await self.submit(name=self.name, password=self.password)
        left = await self.submit(decision=decision)
        assert left is not None, self.page.text
        return left

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


def answered(callback: str) -> dict[str, str]:
    """What the query of a client's callback says."""
    return {name: values[0] for name, values in parse_qs(urlsplit(callback).query).items()}
