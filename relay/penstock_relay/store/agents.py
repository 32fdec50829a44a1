"""Agents: which keys have been given a certificate, and until when."""

from dataclasses import dataclass

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.names import AgentId
from penstock_relay.audit import Kind
from penstock_relay.store.database import Database
from penstock_relay.store.models import AgentRow
from penstock_relay.store.record import record


@dataclass(frozen=True, slots=True)
class Agent:
    """An enrolled agent; ``serial`` of its certificate in hexadecimal, times in seconds since the epoch."""

    id: AgentId
    serial: str
    not_after: float
    enrolled_at: float


class Agents:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, agent: Agent) -> None:
        """Records an agent outside an enrolment. Raises sqlalchemy.exc.IntegrityError for a name in use."""
        async with self._database.writing() as connection:
            await insert_agent(connection, agent)

    async def find(self, agent: AgentId) -> Agent | None:
        query = _COLUMNS.where(AgentRow.site == agent.site, AgentRow.agent == agent.agent)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else Agent(agent, *row[2:])

    async def list(self, site: str | None = None) -> list[Agent]:
        """The agents of ``site``, or of all sites, by site and time of enrolment."""
        query = _COLUMNS.order_by(AgentRow.site, AgentRow.enrolled_at, AgentRow.agent)
        if site is not None:
            query = query.where(AgentRow.site == site)
        async with self._database.reading() as connection:
            return [Agent(AgentId(row[0], row[1]), *row[2:]) for row in await connection.execute(query)]


_COLUMNS = select(AgentRow.site, AgentRow.agent, AgentRow.serial, AgentRow.not_after, AgentRow.enrolled_at)


async def insert_agent(connection: AsyncConnection, agent: Agent) -> None:
    await connection.execute(
        insert(AgentRow).values(
            site=agent.id.site,
            agent=agent.id.agent,
            serial=agent.serial,
            not_after=agent.not_after,
            enrolled_at=agent.enrolled_at,
        )
    )
    await record(
        connection,
        Kind.AGENT_ENROLLED,
        site=agent.id.site,
        agent=agent.id.agent,
        serial=agent.serial,
        not_after=agent.not_after,
    )
