"""A company with an identity provider of another maker, and its employees with their browsers."""

from __future__ import annotations

import html
import json
import os
import re
import secrets
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import httpx2

from tests.clients.drivers import FOLDER, NODE
from tests.harness.person import Person

_BUTTON = re.compile(r'<a class="main" href="([^"]*)">')


@dataclass(frozen=True)
class Company:
    """`secret_file` holds what the relay proves itself with there, as the client penstock."""

    issuer: str
    secret_file: Path

    def settings(self, relay: str, **more: object) -> dict[str, str]:
        """The environment of the relay, whose public URL is to be `relay`."""
        secret = secrets.token_urlsafe(16)
        self.secret_file.write_text(secret + "\n")
        self.tell("relay", relay=relay, secret=secret)
        table = {
            "issuer": self.issuer, "client_id": "penstock", "client_secret_file": str(self.secret_file),
            **more,
        }  # fmt: skip
        return {
            "PENSTOCK_RELAY_LISTEN": relay.removeprefix("http://"),
            "PENSTOCK_RELAY_UPSTREAM": json.dumps(table),
        }

    def tell(self, what: str, **said: object) -> None:
        httpx2.post(f"{self.issuer}/test/{what}", json=said, trust_env=False).raise_for_status()


class Employee(Person):
    """Logs in at the company instead of the relay."""

    def __init__(self, origin: str, company: Company, name: str = "anna") -> None:
        super().__init__(origin, name, "")
        self.company = company

    async def log_in(self) -> None:
        """Presses the button of the relay's login page that is open, and comes back logged in."""
        assert self.page is not None
        found = _BUTTON.search(self.page.text)
        assert found is not None, self.page.text
        self.company.tell("who", who=self.name)
        away = await self.open(urljoin(str(self.page.url), html.unescape(found[1])))
        assert away is not None, self.page.text
        assert await self.open(await self._through(away)) is None

    async def allow(self, url: str, *tools: str) -> str:
        assert await self.open(url) is None
        assert self.page is not None
        if _BUTTON.search(self.page.text):
            await self.log_in()
        return await super().allow(url, *tools)

    async def _decide(self, decision: str, **ticked: str) -> str:
        """A site that believes no relay has the company's login sign what was allowed: one more click."""
        left = await self.submit(decision=decision, **ticked)
        assert self.page is not None
        if left is None and (found := _BUTTON.search(self.page.text)) is not None:
            away = await self.open(urljoin(str(self.page.url), html.unescape(found[1])))
            assert away is not None, self.page.text
            left = await self.open(await self._through(away))
        assert left is not None, self.page.text
        return left

    async def log_out_there(self) -> None:
        """At the company's own page."""
        page = await self._http.get(f"{self.company.issuer}/session/end")
        form = re.search(r'name="xsrf" value="([^"]*)"', page.text)
        assert form is not None, page.text
        data = {"xsrf": form[1], "logout": "yes"}
        done = await self._http.post(f"{self.company.issuer}/session/end/confirm", data=data)
        assert done.status_code in (200, 302, 303), done.text

    async def _through(self, url: str) -> str:
        """Where the company's pages send the browser in the end."""
        for _ in range(10):
            reply = await self._http.get(url)
            assert reply.status_code in (302, 303), reply.text
            url = urljoin(url, reply.headers["location"])
            if not url.startswith(self.company.issuer):
                return url
        raise AssertionError("the redirects never end")


@contextmanager
def company(folder: Path) -> Iterator[Company]:
    """It runs until the block ends; its secret file is in `folder`."""
    process = subprocess.Popen(
        [NODE, str(FOLDER / "upstream_server.mjs")],
        env={**os.environ, "NODE_ENV": "production"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                yield Company(json.loads(line)["issuer"], folder / "client-secret")
                break
        else:
            raise AssertionError("the identity provider did not start: is tests/clients installed?")
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def free_origin() -> str:
    """An origin on this machine that nobody listens at: a provider must know the relay before it starts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"
