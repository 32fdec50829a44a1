"""The conversations of a test module."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.harness.conversing.conversation import Conversation
from tests.harness.conversing.handshake import Handshake
from tests.harness.conversing.httpsse import HttpSse
from tests.harness.conversing.modern import Modern
from tests.harness.stack import Stack


class Callers:
    """One conversation for each client and server, kept while all goes well."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._open: dict[tuple[str, str], Conversation] = {}

    @asynccontextmanager
    async def talking(self, client: str, child: str) -> AsyncIterator[Any]:
        caller = self._open.pop((client, child), None)
        if caller is None:
            caller = conversation(client, self._stack, child)
            try:
                await caller.__aenter__()
            except BaseException:
                await caller.hang_up()
                raise
        try:
            yield caller
        except BaseException:
            await caller.hang_up()
            raise
        self._open[(client, child)] = caller

    def modest(self, client: str, child: str) -> Conversation:
        """One more, which offers nothing that it could be asked; for `async with`."""
        caller = conversation(client, self._stack, child)
        caller.capabilities = {}
        return caller

    async def close(self) -> None:
        for caller in self._open.values():
            await caller.__aexit__(None, None, None)


def conversation(client: str, stack: Stack, server: str) -> Conversation:
    """`client`: a revision, or that and "-sse" for HTTP+SSE."""
    revision = client.removesuffix("-sse")
    if client != revision:
        return HttpSse(revision, f"{stack.public_url}/{stack.site}/{server}/sse", stack.token)
    return (Modern if revision >= "2026" else Handshake)(revision, stack.url(server), stack.token)
