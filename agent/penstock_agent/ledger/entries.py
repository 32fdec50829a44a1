"""What the ledger says, as values. Pure. Hashes are SHA-256 in hex; nothing here is payload.

Every entry is written before what it is about happens: a decision before the server hears of the request, a
piece of an answer before it leaves.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Protocol, TypeAlias

import msgspec

from penstock.principal import Principal

MAX_ITEM: Final = 2048
"""Characters of an item that an entry holds at most."""


class Verdict(StrEnum):
    """What was decided about one request of a caller."""

    ALLOWED = "allowed"
    DENIED = "denied"
    """By what is exposed, by the caller's grant, by a rule of the site, or because it is stopped."""
    WITHHELD = "withheld"
    """The server's definition of it is not the one that was approved."""
    OVER_BUDGET = "over_budget"
    WAITING = "waiting"
    """For somebody on site to approve it."""
    FAILED = "failed"
    """It could not be decided: the server did not say what is needed for that."""


class Decision(msgspec.Struct, frozen=True, omit_defaults=True, tag="decision", tag_field="kind"):
    """One request of a caller, and what was decided."""

    exchange: str
    server: str
    """Empty for the whole site."""
    who: Principal
    method: str
    verdict: Verdict
    rule: str
    """What decided, as the operator knows it: ``expose``, ``grant``, ``paused``, ``rule "finance"``."""
    id: str = ""
    """The JSON-RPC id as raw JSON."""
    item: str = ""
    """What is used: ``tool:NAME``, ``prompt:NAME``, ``resource:URI``; empty where a request names nothing."""
    of: str = ""
    """The server that has the item, where ``server`` is the whole site."""
    arguments: str = ""
    """Hash of the canonical form of the arguments."""
    approval: str = ""
    """The approval that this call has used, or that it waits for."""


class Sent(msgspec.Struct, frozen=True, omit_defaults=True, tag="sent", tag_field="kind"):
    """Bytes of an answer that leave: those of ``exchange`` from ``offset``."""

    exchange: str
    server: str
    who: Principal
    offset: int
    bytes: int
    hash: str
    answers: str = ""
    """The exchange whose request these bytes answer, where it is another one (a stream that somebody came
    back for).
    """


class Unsent(msgspec.Struct, frozen=True, omit_defaults=True, tag="unsent", tag_field="kind"):
    """The last entry of the kind ``sent`` about this exchange and offset did not come true: its writer was
    stopped before the bytes left.
    """

    exchange: str
    server: str
    who: Principal
    offset: int


class Opened(msgspec.Struct, frozen=True, omit_defaults=True, tag="opened", tag_field="kind"):
    """The head of an answer leaves that says more than what form the answer has."""

    exchange: str
    server: str
    who: Principal
    status: int
    headers: list[str]
    """Their names."""
    hash: str
    """Over ``name: value`` of each, ended by a line feed."""


class Masked(msgspec.Struct, frozen=True, omit_defaults=True, tag="masked", tag_field="kind"):
    """Something was taken out of an answer (``action`` mask), or the answer was not let out."""

    exchange: str
    server: str
    who: Principal
    item: str
    action: str
    found: dict[str, int]
    """How often, by what it was; never the value."""


class Event(msgspec.Struct, frozen=True, omit_defaults=True, tag="event", tag_field="kind"):
    """What the site's people or the agent did: started, stopped, reloaded, paused, approved, pinned, …"""

    what: str
    by_uid: int = -1
    """Who did it on this machine; -1 for the agent itself."""
    about: dict[str, str | int] = {}


Entry: TypeAlias = Decision | Opened | Sent | Unsent | Masked | Event


class LedgerStatus(msgspec.Struct, frozen=True):
    """For ``penstock-agent status``. Times are seconds since 1970."""

    records: int = 0
    segments: int = 0
    bytes: int = 0
    synced: int = 0
    """Number of the last record that is known to be on the disk."""
    synced_at: float = 0.0
    head: int = 0
    """Number of the last record that a head signs."""
    head_at: float = 0.0
    problem: str = ""
    """Why nothing can be recorded; empty when it can."""
    warning: str = ""
    """What is not right with what stands in it."""
    key: str = ""
    """The public key of its heads, in base64url."""


class CannotRecord(Exception):
    """The entry was not written, so what it is about must not happen."""


class Ledger(Protocol):
    """Where entries go."""

    @property
    def refuses(self) -> str | None:
        """Why nothing new may begin, in words for the caller; None when it may."""
        ...

    def record(self, entry: Entry, /) -> None:
        """Returns once it is written. Raises :exc:`CannotRecord`."""
        ...

    async def synced(self) -> None:
        """Returns once all that was recorded is on the disk. Raises :exc:`CannotRecord`."""
        ...


class Unrecorded:
    """No ledger: for those who try an endpoint by itself."""

    refuses: str | None = None

    def record(self, entry: Entry, /) -> None:
        """Forgets it."""

    async def synced(self) -> None:
        """At once."""
