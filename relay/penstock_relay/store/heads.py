"""Heads of the ledgers on site, as agents said them: the newest of each, and the last of each day before it.

The relay cannot check a ledger, only that its heads follow each other. What it has kept an auditor compares
with the ledger itself: so heads of the days before stay, for a ledger that was cut short and has grown again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock import ledgerhead
from penstock.ledgerhead import LedgerHead
from penstock.names import AgentId
from penstock_relay import audit
from penstock_relay.audit import Kind, event
from penstock_relay.store.database import Database
from penstock_relay.store.models import LedgerHeadRow
from penstock_relay.store.record import append

LEDGERS: Final = 100
"""Ledgers that an agent of one name may have had; a further one is not stored."""
DAY_S: Final = 86_400.0
DAYS_KEPT: Final = 400
"""Days after which the head of a day is forgotten."""


class Brought(Enum):
    """What a head is, beside those that are stored (PROTOCOL.md, section 21)."""

    OPENED = "opened"
    """Of a ledger that this agent never had."""
    NEWER = "newer"
    KNOWN = "known"
    LATE = "late"
    """Signed before what is stored: it was under way for long."""
    REPLACED = "replaced"
    """Of a ledger that another one has followed."""
    FORKED = "forked"
    """The number that is stored, with another hash."""
    ROLLED_BACK = "rolled_back"
    """Signed after what is stored, and its number is smaller."""
    TOO_MANY = "too_many"
    """Of one more ledger than an agent may have had."""

    @property
    def conflict(self) -> bool:
        return self in (Brought.REPLACED, Brought.FORKED, Brought.ROLLED_BACK, Brought.TOO_MANY)


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a head: what is stored now, and what the one that came was."""

    stored: LedgerHead
    brought: Brought


@dataclass(frozen=True, slots=True)
class StoredHead:
    agent: AgentId
    head: LedgerHead
    ordinal: int
    """Which of the ledgers that this agent has had: 1, 2, …"""
    stored_at: float


def judge(current: StoredHead | None, brought: LedgerHead, *, had: bool) -> Brought:
    """`current` is the newest of the current ledger; `had`: an earlier ledger of the agent has that key."""
    if current is None:
        return Brought.OPENED
    if brought.key != current.head.key:
        if had:
            return Brought.REPLACED
        return Brought.OPENED if current.ordinal < LEDGERS else Brought.TOO_MANY
    if brought.n > current.head.n:
        return Brought.NEWER
    if brought.n == current.head.n:
        return Brought.KNOWN if brought.hash == current.head.hash else Brought.FORKED
    return Brought.ROLLED_BACK if brought.at_ms > current.head.at_ms else Brought.LATE


class Heads:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def current(self, agent: AgentId) -> LedgerHead | None:
        """The newest of the agent's current ledger; None when it never said one."""
        async with self._database.reading() as connection:
            found = await _current(connection, agent)
        return None if found is None else found.head

    async def keep(self, brought: Sequence[tuple[AgentId, LedgerHead]]) -> list[Kept]:
        """Stores those that are newer, all in one transaction; says of each what it was.

        The heads must have been verified, and the agents be enrolled. A conflict changes nothing, and is
        recorded by the caller, who knows whether it has said so before.
        """
        async with self._database.appending() as connection:
            return [await self._keep(connection, agent, head) for agent, head in brought]

    async def list(
        self, site: str | None = None, agent: str | None = None, *, every: bool = False
    ) -> list[StoredHead]:
        """By site and agent, the newest first: of each its current head, or all that are kept."""
        query = _COLUMNS.order_by(
            LedgerHeadRow.site, LedgerHeadRow.agent, LedgerHeadRow.ordinal.desc(), LedgerHeadRow.n.desc()
        )
        if site is not None:
            query = query.where(LedgerHeadRow.site == site)
        if agent is not None:
            query = query.where(LedgerHeadRow.agent == agent)
        found: list[StoredHead] = []
        async with self._database.reading() as connection:
            for row in await connection.execute(query):
                head = _stored(*row)
                if every or not found or found[-1].agent != head.agent:
                    found.append(head)
        return found

    async def _keep(self, connection: AsyncConnection, agent: AgentId, head: LedgerHead) -> Kept:
        now = self._database.now()
        current = await _current(connection, agent)
        had = (
            current is not None
            and head.key != current.head.key
            and await _has_had(connection, agent, head.key)
        )
        brought = judge(current, head, had=had)
        if brought is Brought.OPENED:
            await _open(connection, current, StoredHead(agent, head, 1, now))
        elif current is not None and brought is Brought.NEWER:
            await _renew(connection, current, StoredHead(agent, head, current.ordinal, now))
        elif current is not None:
            return Kept(current.head, brought)
        return Kept(head, brought)


_COLUMNS: Final = select(
    LedgerHeadRow.site,
    LedgerHeadRow.agent,
    LedgerHeadRow.ledger,
    LedgerHeadRow.n,
    LedgerHeadRow.hash,
    LedgerHeadRow.at_ms,
    LedgerHeadRow.signature,
    LedgerHeadRow.ordinal,
    LedgerHeadRow.stored_at,
)


def _stored(
    site: str,
    agent: str,
    ledger: bytes,
    n: int,
    hash: bytes,
    at_ms: int,
    signature: bytes,
    ordinal: int,
    stored_at: float,
) -> StoredHead:
    return StoredHead(AgentId(site, agent), LedgerHead(ledger, n, hash, at_ms, signature), ordinal, stored_at)


async def _current(connection: AsyncConnection, agent: AgentId) -> StoredHead | None:
    query = (
        _COLUMNS.where(LedgerHeadRow.site == agent.site, LedgerHeadRow.agent == agent.agent)
        .order_by(LedgerHeadRow.ordinal.desc(), LedgerHeadRow.n.desc())
        .limit(1)
    )
    row = (await connection.execute(query)).first()
    return None if row is None else _stored(*row)


async def _has_had(connection: AsyncConnection, agent: AgentId, key: bytes) -> bool:
    query = select(LedgerHeadRow.ordinal).where(
        LedgerHeadRow.site == agent.site, LedgerHeadRow.agent == agent.agent, LedgerHeadRow.ledger == key
    )
    return (await connection.execute(query.limit(1))).first() is not None


async def _insert(connection: AsyncConnection, stored: StoredHead) -> None:
    await connection.execute(
        insert(LedgerHeadRow).values(
            site=stored.agent.site, agent=stored.agent.agent, ordinal=stored.ordinal, **_values(stored)
        )
    )


async def _open(connection: AsyncConnection, before: StoredHead | None, stored: StoredHead) -> None:
    """A ledger that this agent never had, behind the one that it had until now."""
    agent, head = stored.agent, stored.head
    await _insert(connection, stored if before is None else replace(stored, ordinal=before.ordinal + 1))
    opened = event(
        Kind.LEDGER_OPENED,
        site=agent.site,
        agent=agent.agent,
        ledger=ledgerhead.name_of(head.key),
        n=head.n,
        follows=None if before is None else ledgerhead.name_of(before.head.key),
    )
    await append(connection, audit.agent(agent.site, agent.agent), opened)


async def _renew(connection: AsyncConnection, before: StoredHead, stored: StoredHead) -> None:
    """In the place of `before`, unless that was the last of its day."""
    of_ledger = (
        LedgerHeadRow.site == stored.agent.site,
        LedgerHeadRow.agent == stored.agent.agent,
        LedgerHeadRow.ordinal == stored.ordinal,
    )
    if stored.stored_at // DAY_S == before.stored_at // DAY_S:
        await connection.execute(
            update(LedgerHeadRow).where(*of_ledger, LedgerHeadRow.n == before.head.n).values(_values(stored))
        )
        return
    await _insert(connection, stored)
    oldest = stored.stored_at - DAYS_KEPT * DAY_S
    await connection.execute(
        delete(LedgerHeadRow).where(
            *of_ledger, LedgerHeadRow.n < before.head.n, LedgerHeadRow.stored_at < oldest
        )
    )


def _values(stored: StoredHead) -> dict[str, int | float | bytes]:
    head = stored.head
    return {
        "n": head.n,
        "ledger": head.key,
        "hash": head.hash,
        "at_ms": head.at_ms,
        "signature": head.signature,
        "stored_at": stored.stored_at,
    }
