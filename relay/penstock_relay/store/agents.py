"""Agents: who has been given a certificate, and whether it is let in."""

from dataclasses import dataclass, replace

from sqlalchemy import Update, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.names import AgentId
from penstock_relay.audit import Change, Kind
from penstock_relay.store.database import Database, StoreError
from penstock_relay.store.lineage import Lock
from penstock_relay.store.models import AgentRow, CertificateRow
from penstock_relay.store.record import record


class NoSuchAgent(StoreError):
    """There is no agent of that name at the site."""

    def __init__(self, agent: AgentId) -> None:
        super().__init__(
            f"Site {agent.site} has no agent {agent.agent!r}. The agents are listed by: "
            f"penstock-relay agent list --site {agent.site}"
        )


class OtherFingerprint(StoreError):
    """The agent has another key than the one that was to be approved."""

    def __init__(self, agent: AgentId) -> None:
        super().__init__(
            f"Agent {agent.agent} of site {agent.site} has another fingerprint, so nothing was approved. "
            "Compare it with what the site's administrator reads out (penstock-agent status); if they "
            f"differ, run: penstock-relay agent revoke {agent.site} {agent.agent}"
        )


@dataclass(frozen=True, slots=True)
class Agent:
    """An enrolled agent; ``serial`` of its newest certificate in hexadecimal, times since the epoch."""

    id: AgentId
    serial: str
    not_after: float
    enrolled_at: float
    approved_at: float | None = None
    """None while somebody has to approve it."""
    fingerprint: bytes | None = None
    """SHA-256 of the newest certificate's public key; None when it was not kept."""
    generation: int = 1
    """Counts its certificates."""
    revoked_at: float | None = None
    locked_at: float | None = None
    lock: Lock | None = None


class Agents:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, agent: Agent) -> None:
        """Records an agent outside an enrolment. Raises sqlalchemy.exc.IntegrityError for a name in use."""
        async with self._database.writing() as connection:
            await insert_agent(connection, agent)

    async def find(self, agent: AgentId) -> Agent | None:
        async with self._database.reading() as connection:
            return await find_agent(connection, agent)

    async def list(self, site: str | None = None) -> list[Agent]:
        """The agents of ``site``, or of all sites, by site and time of enrolment."""
        query = _QUERY.order_by(AgentRow.site, AgentRow.enrolled_at, AgentRow.agent)
        if site is not None:
            query = query.where(AgentRow.site == site)
        async with self._database.reading() as connection:
            return [_agent(*row) for row in await connection.execute(query)]

    async def approve(self, agent: AgentId, fingerprint: bytes, now: float) -> bool:
        """Lets the agent with this key in; False when it was approved before.

        Raises NoSuchAgent, OtherFingerprint.
        """
        async with self._database.writing() as connection:
            found = await find_agent(connection, agent)
            if found is None:
                raise NoSuchAgent(agent)
            if found.fingerprint != fingerprint:
                raise OtherFingerprint(agent)
            if found.approved_at is not None:
                return False
            await connection.execute(_change(agent).values(approved_at=now))
            await record(
                connection,
                Kind.AGENT_APPROVED,
                site=agent.site,
                agent=agent.agent,
                fingerprint=fingerprint.hex(),
            )
            return True

    async def revoke(self, agent: AgentId, now: float) -> bool:
        """Ends every certificate of the agent; False when that was done before. Raises NoSuchAgent."""
        async with self._database.writing() as connection:
            found = await find_agent(connection, agent)
            if found is None:
                raise NoSuchAgent(agent)
            if found.revoked_at is not None:
                return False
            await connection.execute(_change(agent).values(revoked_at=now))
            await record(
                connection, Kind.AGENT_REVOKED, site=agent.site, agent=agent.agent, serial=found.serial
            )
            return True


_QUERY = select(
    AgentRow.site,
    AgentRow.agent,
    AgentRow.serial,
    AgentRow.not_after,
    AgentRow.enrolled_at,
    AgentRow.approved_at,
    CertificateRow.fingerprint,
    CertificateRow.generation,
    AgentRow.revoked_at,
    AgentRow.locked_at,
    AgentRow.lock,
).join(CertificateRow, CertificateRow.serial == AgentRow.serial)


async def find_agent(connection: AsyncConnection, agent: AgentId) -> Agent | None:
    query = _QUERY.where(AgentRow.site == agent.site, AgentRow.agent == agent.agent)
    row = (await connection.execute(query)).first()
    return None if row is None else _agent(*row)


async def insert_agent(connection: AsyncConnection, agent: Agent) -> None:
    await connection.execute(
        insert(AgentRow).values(
            site=agent.id.site,
            agent=agent.id.agent,
            serial=agent.serial,
            not_after=agent.not_after,
            enrolled_at=agent.enrolled_at,
            approved_at=agent.approved_at,
            revoked_at=agent.revoked_at,
            locked_at=agent.locked_at,
            lock=None if agent.lock is None else agent.lock.value,
        )
    )
    await record(
        connection,
        Kind.AGENT_ENROLLED,
        site=agent.id.site,
        agent=agent.id.agent,
        serial=agent.serial,
        not_after=agent.not_after,
        state=_state(agent),
    )
    await _insert_certificate(connection, agent)


async def replace_agent(connection: AsyncConnection, before: Agent, agent: Agent) -> None:
    """Gives the name of ``before`` to the key of ``agent``; what ``before`` was given is revoked."""
    await connection.execute(
        _certificates(agent.id)
        .where(CertificateRow.revoked_at.is_(None))
        .values(revoked_at=agent.enrolled_at)
    )
    await connection.execute(
        _change(agent.id).values(
            serial=agent.serial,
            not_after=agent.not_after,
            enrolled_at=agent.enrolled_at,
            approved_at=agent.approved_at,
            revoked_at=None,
            locked_at=None,
            lock=None,
        )
    )
    await _insert_certificate(connection, replace(agent, generation=before.generation + 1))
    await record(
        connection,
        Kind.AGENT_REPLACED,
        site=agent.id.site,
        agent=agent.id.agent,
        serial=Change(before.serial, agent.serial),
        not_after=agent.not_after,
        state=_state(agent),
    )


def _state(agent: Agent) -> str | None:
    return "waits for approval" if agent.approved_at is None else None


async def _insert_certificate(connection: AsyncConnection, agent: Agent) -> None:
    await connection.execute(
        insert(CertificateRow).values(
            serial=agent.serial,
            site=agent.id.site,
            agent=agent.id.agent,
            generation=agent.generation,
            fingerprint=agent.fingerprint,
            issued_at=agent.enrolled_at,
            not_after=agent.not_after,
        )
    )


def _change(agent: AgentId) -> Update:
    return update(AgentRow).where(AgentRow.site == agent.site, AgentRow.agent == agent.agent)


def _certificates(agent: AgentId) -> Update:
    return update(CertificateRow).where(
        CertificateRow.site == agent.site, CertificateRow.agent == agent.agent
    )


def _agent(
    site: str,
    agent: str,
    serial: str,
    not_after: float,
    enrolled_at: float,
    approved_at: float | None,
    fingerprint: bytes | None,
    generation: int,
    revoked_at: float | None,
    locked_at: float | None,
    lock: str | None,
) -> Agent:
    return Agent(
        AgentId(site, agent), serial, not_after, enrolled_at, approved_at, fingerprint, generation,
        revoked_at, locked_at, None if lock is None else Lock(lock),
    )  # fmt: skip
