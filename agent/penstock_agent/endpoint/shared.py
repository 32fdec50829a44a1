"""What every era of the endpoint works with: the configuration as it stands, the bounds, and the tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import inf

from penstock.envelope import Message
from penstock.principal import Principal
from penstock_agent.catalogue.catalogues import Catalogues
from penstock_agent.children.child import ChildSpec
from penstock_agent.endpoint.approving import Approving
from penstock_agent.endpoint.failures import Failure, denied
from penstock_agent.endpoint.held import Held
from penstock_agent.endpoint.limits import Limits
from penstock_agent.endpoint.memory import Memory
from penstock_agent.endpoint.permits import Permits
from penstock_agent.endpoint.ports import Children, Spawn
from penstock_agent.endpoint.session.eventlog import Budget, EventIds
from penstock_agent.endpoint.streams import Stream
from penstock_agent.endpoint.tainting import Tainting
from penstock_agent.endpoint.turns import Turns
from penstock_agent.gate.definitions import Definitions
from penstock_agent.gate.gate import Gate
from penstock_agent.gate.pause import Paused
from penstock_agent.gate.policy.books import Books
from penstock_agent.gate.policy.taint import Marks
from penstock_agent.ledger.entries import Ledger, Unrecorded
from penstock_agent.tolerance import Tolerance


@dataclass(slots=True, eq=False)
class Shared:
    """One per endpoint. ``servers`` and ``gate`` are replaced when the configuration is read again."""

    servers: Mapping[str, ChildSpec]
    gate: Gate
    children: Children
    faces: Children
    """The same for sessions: what speaks only 2026-07-28 looks to them like one of their era."""
    catalogues: Catalogues
    limits: Limits
    held: Held
    ids: EventIds
    logs: Budget[Stream]
    call_timeout: float
    """Seconds after which a call is given up, when its caller does not give up sooner."""
    spawn: Spawn
    """Starts a task that the endpoint owns. Raises Stopping."""
    tolerance: Tolerance
    memory: Memory
    ledger: Ledger = field(default_factory=Unrecorded)
    definitions: Definitions | None = None
    """What was approved of what servers offer; None where nothing is compared with it."""
    paused: Paused = Paused()  # noqa: RUF009 - frozen
    """What the administrator has stopped; replaced when that changes."""
    close_after: float = inf
    """Seconds after which an event stream that has not brought its answer yet is closed, for its client to
    come back; only for clients that know of this (2025-11-25)."""
    running: bool = False
    """Whether tasks can be started."""
    permits: Permits = field(default_factory=lambda: Permits(Books(), time.time))
    approving: Approving = field(default_factory=Approving)
    tainting: Tainting = field(default_factory=lambda: Tainting(Marks(), time.time))
    turns: Turns = field(default_factory=Turns)
    """What looks through long messages."""

    def stopped(self, server: str, caller: Principal) -> Failure | None:
        """Why nothing may be done here now; None when it may."""
        text = self.paused.why(server, caller) if self.paused.entries else None
        return None if text is None else denied(text)

    def narrowed(self, server: str, caller: Principal, message: Message) -> Message:
        """An allowed request, without the items in it that this caller may not use."""
        return self.gate.narrowed(server, caller, message, self.marked(server), self.catalogues)

    def marked(self, server: str) -> Collection[str]:
        """Which tools of a server are marked as read-only, as far as that is known."""
        return self.catalogues.marked(server)

    def until(self, deadline: float) -> float:
        """When the answer to a call that comes now is due (loop time)."""
        return min(deadline, asyncio.get_running_loop().time() + self.call_timeout)
