"""Sites: who the relay has agents for."""

from dataclasses import dataclass

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock_relay.audit import Kind
from penstock_relay.store.database import Database, StoreError
from penstock_relay.store.models import AgentRow, SiteRow
from penstock_relay.store.record import record


class SiteExists(StoreError):
    """There is a site of that name already."""


class NoSuchSite(StoreError):
    """There is no site of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no site {name!r}. Make it with: penstock-relay site add {name}")


@dataclass(frozen=True, slots=True)
class Site:
    """A site as listed: ``created_at`` in seconds since the epoch, ``agents`` enrolled so far."""

    name: str
    created_at: float
    agents: int


class Sites:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, name: str, now: float) -> None:
        """Raises SiteExists."""
        async with self._database.writing() as connection:
            if await has_site(connection, name):
                raise SiteExists(f"There is a site {name!r} already.")
            await connection.execute(insert(SiteRow).values(name=name, created_at=now))
            await record(connection, Kind.SITE_ADDED, site=name)

    async def exists(self, name: str) -> bool:
        async with self._database.reading() as connection:
            return await has_site(connection, name)

    async def list(self) -> list[Site]:
        """All sites, by name."""
        agents = select(func.count()).where(AgentRow.site == SiteRow.name).scalar_subquery()
        query = select(SiteRow.name, SiteRow.created_at, agents).order_by(SiteRow.name)
        async with self._database.reading() as connection:
            return [Site(*row) for row in await connection.execute(query)]


async def has_site(connection: AsyncConnection, name: str) -> bool:
    query = select(SiteRow.name).where(SiteRow.name == name)
    return (await connection.execute(query)).first() is not None
