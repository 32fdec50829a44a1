"""Certificates of agents: given, seen, renewed. What they mean together is decided in `lineage`."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Update, delete, exists, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from penstock.names import AgentId
from penstock_relay.audit import Change, Kind
from penstock_relay.store import lineage
from penstock_relay.store.database import Database
from penstock_relay.store.lineage import Certificate, Lineage, Lock, Standing
from penstock_relay.store.models import AgentRow, CertificateRow
from penstock_relay.store.record import record

_SERIALS_AT_ONCE: Final = 500
"""Serials in one query; SQLite bounds the parameters of a statement."""


@dataclass(frozen=True, slots=True)
class Successor:
    """A certificate that was signed and that nobody has got yet."""

    serial: str
    fingerprint: bytes
    not_after: float


class Certificates:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def lineage(self, serial: str) -> Lineage | None:
        """The agent that was given ``serial``, with all its certificates; None for an unknown one."""
        async with self._database.reading() as connection:
            return await _lineage(connection, serial)

    async def use(self, serial: str, now: float) -> Standing:
        """Judges a certificate that opens a link; notes that it was seen, or locks the agent."""
        async with self._database.writing(unrecorded="a link is no event; a lock is recorded") as connection:
            found = await _lineage(connection, serial)
            if found is None:
                return Standing.UNKNOWN
            standing = lineage.at_link(found, serial)
            if standing is Standing.GOOD:
                await _see(connection, serial, now)
            elif standing is Standing.FORKED:
                await _lock(connection, found.agent, Lock.CLONE, now)
            return standing

    async def renew(
        self, serial: str, successor: Successor, now: float, *, linked: bool
    ) -> tuple[Standing, int]:
        """Makes ``successor`` the newest generation, if ``serial`` is GOOD; its number beside what it is.

        A copy locks its agent; ``linked`` (whether the agent has a link now) tells what kind it is.
        """
        async with self._database.writing() as connection:
            found = await _lineage(connection, serial)
            if found is None:
                return Standing.UNKNOWN, 0
            standing = lineage.at_renewal(found, serial, now)
            if standing is Standing.FORKED:
                await _lock(connection, found.agent, Lock.CLONE if linked else Lock.SNAPSHOT, now)
            if standing is not Standing.GOOD:
                return standing, 0
            await _see(connection, serial, now)
            for lost in lineage.abandoned(found, serial):
                await connection.execute(_row(lost).values(abandoned_at=now))
            generation = found.newest.generation + 1
            await connection.execute(
                insert(CertificateRow).values(
                    serial=successor.serial,
                    site=found.agent.site,
                    agent=found.agent.agent,
                    generation=generation,
                    fingerprint=successor.fingerprint,
                    issued_at=now,
                    not_after=successor.not_after,
                )
            )
            await connection.execute(
                update(AgentRow)
                .where(AgentRow.site == found.agent.site, AgentRow.agent == found.agent.agent)
                .values(serial=successor.serial, not_after=successor.not_after)
            )
            await record(
                connection,
                Kind.CERTIFICATE_RENEWED,
                site=found.agent.site,
                agent=found.agent.agent,
                generation=generation,
                serial=Change(serial, successor.serial),
                not_after=successor.not_after,
            )
            for old in lineage.forgettable(found.certificates, generation, now):
                await connection.execute(delete(CertificateRow).where(CertificateRow.serial == old))
            return standing, generation

    async def confirm(self, serial: str, now: float) -> None:
        """The agent says that it has stored ``serial``."""
        async with self._database.writing(unrecorded="its renewal is recorded") as connection:
            found = await _lineage(connection, serial)
            if found is not None and lineage.at_link(found, serial) is Standing.GOOD:
                await _see(connection, serial, now)

    async def ended(self, serials: list[str]) -> dict[str, Standing]:
        """Those of ``serials`` whose links must not stand as they are: REVOKED, LOCKED or SUPERSEDED."""
        found: dict[str, Standing] = {}
        async with self._database.reading() as connection:
            for start in range(0, len(serials), _SERIALS_AT_ONCE):
                some = serials[start : start + _SERIALS_AT_ONCE]
                found |= await _ended(connection, some)
        return found


_SAME_AGENT = (CertificateRow.site == AgentRow.site) & (CertificateRow.agent == AgentRow.agent)


async def _ended(connection: AsyncConnection, serials: list[str]) -> dict[str, Standing]:
    newer = aliased(CertificateRow)
    seen = exists().where(
        newer.site == CertificateRow.site,
        newer.agent == CertificateRow.agent,
        newer.generation > CertificateRow.generation,
        newer.seen_at.is_not(None),
    )
    query = (
        select(CertificateRow.serial, CertificateRow.revoked_at, AgentRow.revoked_at, AgentRow.lock)
        .join(AgentRow, _SAME_AGENT)
        .where(
            CertificateRow.serial.in_(serials),
            or_(
                CertificateRow.revoked_at.is_not(None),
                AgentRow.revoked_at.is_not(None),
                AgentRow.lock.is_not(None),
                seen,
            ),
        )
    )
    found: dict[str, Standing] = {}
    for serial, revoked_at, agent_revoked_at, lock in await connection.execute(query):
        if revoked_at is not None or agent_revoked_at is not None:
            found[serial] = Standing.REVOKED
        else:
            found[serial] = Standing.SUPERSEDED if lock is None else Standing.LOCKED
    return found


async def _lineage(connection: AsyncConnection, serial: str) -> Lineage | None:
    owner = (
        await connection.execute(
            select(AgentRow.site, AgentRow.agent, AgentRow.approved_at, AgentRow.revoked_at, AgentRow.lock)
            .join(CertificateRow, _SAME_AGENT)
            .where(CertificateRow.serial == serial)
        )
    ).first()
    if owner is None:
        return None
    rows = await connection.execute(
        select(
            CertificateRow.serial,
            CertificateRow.generation,
            CertificateRow.fingerprint,
            CertificateRow.issued_at,
            CertificateRow.not_after,
            CertificateRow.seen_at,
            CertificateRow.abandoned_at,
            CertificateRow.revoked_at,
        )
        .where(CertificateRow.site == owner.site, CertificateRow.agent == owner.agent)
        .order_by(CertificateRow.generation)
    )
    return Lineage(
        AgentId(owner.site, owner.agent),
        owner.approved_at is not None,
        owner.revoked_at,
        None if owner.lock is None else Lock(owner.lock),
        tuple(Certificate(*row) for row in rows),
    )


async def _see(connection: AsyncConnection, serial: str, now: float) -> None:
    await connection.execute(_row(serial).where(CertificateRow.seen_at.is_(None)).values(seen_at=now))


async def _lock(connection: AsyncConnection, agent: AgentId, lock: Lock, now: float) -> None:
    locked = await connection.execute(
        update(AgentRow)
        .where(AgentRow.site == agent.site, AgentRow.agent == agent.agent, AgentRow.lock.is_(None))
        .values(locked_at=now, lock=lock.value)
    )
    if locked.rowcount:
        await record(connection, Kind.AGENT_LOCKED, site=agent.site, agent=agent.agent, reason=lock.value)


def _row(serial: str) -> Update:
    return update(CertificateRow).where(CertificateRow.serial == serial)
