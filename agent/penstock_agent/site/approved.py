"""What of one server of the site was approved: how it is shown and refused, and what its process offers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from penstock.envelope import Message
from penstock_agent.endpoint.failures import Failure
from penstock_agent.endpoint.looking import Looking
from penstock_agent.endpoint.ports import Spawn
from penstock_agent.gate import read
from penstock_agent.gate.definitions import Definitions
from penstock_agent.gate.expose import Item
from penstock_agent.gate.methods import LISTS, Use


class Approved:
    """Of one server. Where nobody keeps what was approved, all is shown and nothing refused."""

    def __init__(
        self,
        server: str,
        definitions: Definitions | None,
        spawn: Spawn,
        ask: Callable[[Message], Awaitable[Message | Failure]],
        offered: Callable[[], Collection[str]],
    ) -> None:
        """``ask`` gives the process a request of the agent itself. ``offered``: its capabilities."""
        self._server = server
        self._definitions = definitions
        self._ask = ask
        self._looking = Looking(server, definitions, spawn, self._own, offered)

    def refusal(self, item: Item, name: str) -> str | None:
        """Why this may not be used now, in words; None when it may."""
        return None if self._definitions is None else self._definitions.refusal(self._server, Use(item, name))

    async def objection(self, asked: Message) -> str | None:
        """Why this request must not be given to the process that is there when this returns, in words for the
        caller. May ask the process. Raises NotRunning.
        """
        return await self._looking.objection(asked)

    def shown(self, item: Item, name: str, raw: bytes) -> bytes | None:
        """What is shown of an item in its lists."""
        if self._definitions is None:
            return raw
        return self._definitions.shown(self._server, self._looking.sight, item, name, raw)

    def listed(self, asked: Message, result: bytes) -> None:
        """What it has answered was ``shown`` item by item."""
        if self._definitions is not None:
            self._definitions.listed(self._server, self._looking.sight, asked, result)

    def greeted(self, result: bytes) -> bytes:
        """What is shown of its answer to ``initialize``."""
        if self._definitions is None:
            return result
        return self._definitions.greeted(self._server, self._looking.sight, result)

    def changed(self, method: str | None) -> None:
        """The process notifies of something."""
        self._looking.changed(method)

    def lost(self) -> None:
        """The process has ended."""
        self._looking.lost()

    async def _own(self, asked: Message) -> Message | None:
        """The answer to a request of the agent itself."""
        answer = await self._ask(asked)
        if isinstance(answer, Failure):
            return None
        result, (item, key, name_key) = answer.result, LISTS[asked.method or ""]
        if result is None:
            return answer
        seen = read.filtered(result, key, lambda raw: self._seen(item, raw, name_key))
        return None if seen is None else answer

    def _seen(self, item: Item, raw: bytes, name_key: str) -> None:
        name = read.name_of(raw, name_key)
        if name is not None:
            self.shown(item, name, raw)
