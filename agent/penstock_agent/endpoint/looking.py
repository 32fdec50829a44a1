"""Asking a process that serves somebody for its lists, before something of it is used that was not seen yet.

The answers go the way of all lists, past what was approved. So what is compared is what this very process
offers, and no other one has to be started for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Final, TypeAlias

import msgspec

from penstock.envelope import Message, member, request, text_member
from penstock.outcome import METHOD_NOT_FOUND
from penstock_agent.children import eras
from penstock_agent.endpoint.lifeline import NotRunning
from penstock_agent.endpoint.manners import OFFERED_AS
from penstock_agent.endpoint.ports import Spawn
from penstock_agent.gate.definitions import FIRST, PINNED, UNKNOWN, Definitions, Sight
from penstock_agent.gate.methods import used

LOOK_S: Final = 20.0
"""For all lists of a process."""
LOOKS: Final = 3
"""How often a process is asked for one request, where its lists change meanwhile."""
MAX_PAGES: Final = 200
"""Of one list."""
_ID: Final = b'"look"'
_NOT_FOUND: Final = b"%d" % METHOD_NOT_FOUND

Ask: TypeAlias = Callable[[Message], Awaitable[Message | None]]
"""Gives a request of the agent itself to the process: the answer, None where there is none. May raise
NotRunning."""


class _NotTold(Exception):
    """The process did not give a whole list."""


class Looking:
    """Of one process after another. ``offered``: the capabilities that the process says it has, None where
    that is not known. ``modern``: whether its requests say of themselves what they are.
    """

    def __init__(
        self,
        server: str,
        definitions: Definitions | None,
        spawn: Spawn,
        ask: Ask,
        offered: Callable[[], Collection[str] | None] = lambda: None,
        *,
        modern: bool = False,
    ) -> None:
        self.sight = Sight()
        self._server = server
        self._definitions = definitions
        self._spawn = spawn
        self._ask = ask
        self._offered = offered
        self._modern = modern
        self._task: asyncio.Task[None] | None = None
        self._failed: NotRunning | None = None
        self._again = False

    def lost(self) -> None:
        """The process has ended."""
        self.sight = Sight()

    def changed(self, method: str | None) -> None:
        """The process notifies of something."""
        self.sight.changed(method)

    async def objection(self, message: Message) -> str | None:
        """Why this request must not be given to the process that is there when this returns, in words for the
        caller. May ask the process. Raises NotRunning.
        """
        definitions = self._definitions
        if definitions is None:
            return None
        looks = 0
        while definitions.unsettled(self._server, self.sight, message):
            if self._task is None or self._task.done():
                if looks and self._failed is not None:
                    raise NotRunning(self._failed.failure)
                if looks == LOOKS or (looks and not self._again):
                    return UNKNOWN
                looks += 1
                self._task = self._spawn(self._look(definitions, message.method or ""))
            await asyncio.wait((self._task,))  # others may wait for it too, so nobody cancels it
        if not looks and not self.sight.differs:
            return None
        return definitions.refusal(self._server, used(message), self.sight)

    async def _look(self, definitions: Definitions, method: str) -> None:
        sight, offered = self.sight, self._offered()
        changes = sight.changes
        first = not definitions.approved(self._server)
        wanted = tuple(PINNED) if first else (FIRST[method],)
        told: list[str] = []
        self._failed, self._again = None, False
        try:
            async with asyncio.timeout(LOOK_S):
                if first and self._modern:
                    await self._one("server/discover", {})
                for each in wanted:
                    if offered is None or OFFERED_AS[each] in offered or each == FIRST.get(method):
                        try:
                            await self._pages(each)
                        except _NotTold:
                            continue
                    told.append(each)
        except NotRunning as error:
            self._failed = error
            return
        except TimeoutError:
            return
        # Of another process it says nothing, nor of what has changed meanwhile; and what is there is not
        # taken for all that there is.
        self._again = self.sight is not sight or sight.changes != changes
        if not self._again and (not first or FIRST.get(method, method) in told):
            definitions.looked(self._server, sight, told)

    async def _pages(self, method: str) -> None:
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            answer = await self._one(method, {} if cursor is None else {"cursor": cursor})
            if answer is None or answer.result is None:
                if answer is not None and member(answer.error or b"{}", "code") == _NOT_FOUND:
                    return  # the server has no such list
                raise _NotTold
            following = text_member(answer.result, "nextCursor")
            if not following:
                return
            cursor = following
        raise _NotTold

    async def _one(self, method: str, params: dict[str, object]) -> Message | None:
        if self._modern:
            params = {**params, "_meta": eras.envelope_meta()}
        return await self._ask(request(_ID, method, msgspec.json.encode(params)))
