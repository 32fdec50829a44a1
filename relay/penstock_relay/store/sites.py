"""Sites: who the relay has agents for."""

from dataclasses import dataclass

from sqlalchemy import func, insert, select, update
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
    require_approval: bool = False
    """Whether new agents wait until somebody has compared their fingerprint."""
    suspended_at: float | None = None
    """Since when no call goes to it."""


class Sites:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, name: str, now: float, *, require_approval: bool = False) -> None:
        """Raises SiteExists."""
        async with self._database.writing() as connection:
            if await has_site(connection, name):
                raise SiteExists(f"There is a site {name!r} already.")
            await connection.execute(
                insert(SiteRow).values(name=name, created_at=now, require_approval=require_approval)
            )
            approval = "required" if require_approval else None
            await record(connection, Kind.SITE_ADDED, site=name, approval=approval)

    async def exists(self, name: str) -> bool:
        async with self._database.reading() as connection:
            return await has_site(connection, name)

    async def requires_approval(self, name: str) -> bool:
        """Raises NoSuchSite."""
        query = select(SiteRow.require_approval).where(SiteRow.name == name)
        async with self._database.reading() as connection:
            found = (await connection.execute(query)).scalar_one_or_none()
        if found is None:
            raise NoSuchSite(name)
        return found

    async def list(self) -> list[Site]:
        """All sites, by name."""
        agents = select(func.count()).where(AgentRow.site == SiteRow.name).scalar_subquery()
        query = select(
            SiteRow.name, SiteRow.created_at, agents, SiteRow.require_approval, SiteRow.suspended_at
        ).order_by(SiteRow.name)
        async with self._database.reading() as connection:
            return [Site(*row) for row in await connection.execute(query)]

    async def suspend(self, name: str, now: float) -> bool:
        """No call goes to it from now on; False when that was so before. Raises NoSuchSite."""
        async with self._database.writing() as connection:
            if not await _set_suspended(connection, name, now):
                return False
            await record(connection, Kind.SITE_SUSPENDED, site=name)
            return True

    async def resume(self, name: str) -> bool:
        """Calls go to it again; False when it was not suspended. Raises NoSuchSite."""
        async with self._database.writing() as connection:
            if not await _set_suspended(connection, name, None):
                return False
            await record(connection, Kind.SITE_RESUMED, site=name)
            return True

    async def suspended(self) -> frozenset[str]:
        """The names of those to which no call goes."""
        query = select(SiteRow.name).where(SiteRow.suspended_at.is_not(None))
        async with self._database.reading() as connection:
            return frozenset((await connection.execute(query)).scalars())


async def _set_suspended(connection: AsyncConnection, name: str, at: float | None) -> bool:
    """Whether that changed anything. Raises NoSuchSite."""
    query = select(SiteRow.suspended_at).where(SiteRow.name == name)
    row = (await connection.execute(query)).first()
    if row is None:
        raise NoSuchSite(name)
    if (row.suspended_at is None) == (at is None):
        return False
    await connection.execute(update(SiteRow).where(SiteRow.name == name).values(suspended_at=at))
    return True


async def has_site(connection: AsyncConnection, name: str) -> bool:
    query = select(SiteRow.name).where(SiteRow.name == name)
    return (await connection.execute(query)).first() is not None
