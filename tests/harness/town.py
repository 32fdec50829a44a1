"""A relay behind its TLS front, a site, users, and the internet that assistants live on: one for many tests.

Tests share it, so each takes care to leave no trace that another could stumble over: connections of its own,
users of its own where it ends rights.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx2

from tests.clients.drivers import program
from tests.harness.internet import ORIGIN, RELAY_PROGRAM, Internet
from tests.harness.person import Person
from tests.harness.stack import Server, Stack

TOOL_SERVER: Final = Path(__file__).with_name("tool_server.py")
PASSWORD: Final = "correct horse battery"


class Town:
    """Site `plant` with the servers `tools` and `more` (tool_server.py) and `files`; no users."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.internet = Internet(folder)
        self.stack: Stack
        self._cookies: dict[str, httpx2.Cookies] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            opened.enter_context(self.internet)
            tools = Server((sys.executable, str(TOOL_SERVER)), ("*",))
            files = Server(
                (*program("mcp-server-filesystem"), str(self._folder)), ("*",), write=[self._folder]
            )
            servers = {"tools": tools, "more": tools, "files": files}
            env = self.internet.relay_env
            self.stack = Stack(servers, relay_env=env, relay_program=RELAY_PROGRAM)
            opened.enter_context(self.stack)
            self.internet.lead_to(self.stack.relay.env["PENSTOCK_RELAY_LISTEN"])
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def url(self, server: str = "tools") -> str:
        """What a user pastes into an assistant."""
        return self.stack.url(server)

    def invite(self, name: str, *, member: bool = True) -> str:
        """The link of a new user, who may use the site."""
        link = self.stack.relay_cli("user", "add", name, "--email", f"{name}@example.com").stdout.strip()
        if member:
            self.stack.relay_cli("access", "add", "--user", name, "--site", self.stack.site)
        return link

    @asynccontextmanager
    async def person(self, name: str) -> AsyncIterator[Person]:
        """`name`, with the browser of the last visit; moves in at the first one."""
        cookies = self._cookies.get(name)
        async with Person(ORIGIN, name, PASSWORD, self.internet.transport(), cookies) as person:
            if cookies is None:
                await person.accept_invitation(self.invite(name))
            self._cookies[name] = person.cookies
            yield person
