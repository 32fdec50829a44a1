"""The conversations of a test module, and the servers that they are with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from tests.harness.conversing.conversation import Conversation, Json
from tests.harness.conversing.handshake import Handshake
from tests.harness.conversing.httpsse import HttpSse
from tests.harness.conversing.modern import Modern
from tests.harness.stack import Stack
from tests.servers.programs import plain, revisions


@contextmanager
def all_servers(*others: str) -> Iterator[Stack]:
    """A server of each kind, by its name, and one more of each for every one of `others`: `KIND-OTHER`."""
    kinds = {"handshake": plain(), "modern": revisions("modern"), "dual": revisions("dual")}
    more = {f"{kind}-{other}": server for kind, server in kinds.items() for other in others}
    with Stack(kinds | more) as running:
        yield running


class Callers:
    """One conversation for each client and server, kept while all goes well."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._open: dict[tuple[str, str], Conversation] = {}

    @asynccontextmanager
    async def talking(self, client: str, child: str) -> AsyncIterator[Any]:
        caller = self._open.pop((client, child), None)
        if caller is None:
            caller = await conversation(client, self._stack, child).__aenter__()
        try:
            yield caller
        except BaseException:
            await caller.hang_up()
            raise
        self._open[(client, child)] = caller

    def another(self, client: str, child: str, capabilities: Json | None = None) -> Any:
        """One more, for `async with`. `capabilities`: what it says of itself."""
        caller = conversation(client, self._stack, child)
        if capabilities is not None:
            caller.capabilities = capabilities
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
