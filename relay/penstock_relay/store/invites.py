"""Invites: what join strings stand for. One use, an expiry, and only the hash of the secret."""

from dataclasses import dataclass
from enum import Enum

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock_relay.audit import Kind, invite_id
from penstock_relay.store.agents import Agent, insert_agent
from penstock_relay.store.database import Database
from penstock_relay.store.models import InviteRow
from penstock_relay.store.record import record
from penstock_relay.store.sites import NoSuchSite, has_site


class Unusable(Enum):
    """Why a secret opens nothing. A secret that is both used and expired counts as used."""

    USED = "used"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Invite:
    """An invite that can be used until ``expires_at``, in seconds since the epoch."""

    site: str
    expires_at: float


class Invites:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, site: str, secret_hash: bytes, now: float, expires_at: float) -> None:
        """Raises NoSuchSite."""
        async with self._database.writing() as connection:
            if not await has_site(connection, site):
                raise NoSuchSite(site)
            await connection.execute(
                insert(InviteRow).values(
                    secret_hash=secret_hash, site=site, created_at=now, expires_at=expires_at
                )
            )
            await record(
                connection,
                Kind.AGENT_INVITED,
                site=site,
                invite=invite_id(secret_hash),
                expires_at=expires_at,
            )

    async def find(self, secret_hash: bytes, now: float) -> Invite | Unusable:
        """Looks without using: the answer may be out of date by the time of :meth:`take`."""
        async with self._database.reading() as connection:
            return await _find(connection, secret_hash, now)

    async def take(self, secret_hash: bytes, agent: Agent, now: float) -> Unusable | None:
        """Uses the invite up for ``agent`` and records the agent, both or neither; None when that was done.

        Raises sqlalchemy.exc.IntegrityError when the agent's name is in use; the invite is then unused still.
        """
        async with self._database.writing() as connection:
            found = await _find(connection, secret_hash, now)
            if isinstance(found, Unusable):
                return found
            if found.site != agent.id.site:
                return Unusable.UNKNOWN
            await insert_agent(connection, agent)
            await connection.execute(
                update(InviteRow)
                .where(InviteRow.secret_hash == secret_hash)
                .values(used_at=now, used_by=agent.id.agent)
            )
            return None


async def _find(connection: AsyncConnection, secret_hash: bytes, now: float) -> Invite | Unusable:
    query = select(InviteRow.site, InviteRow.expires_at, InviteRow.used_at)
    row = (await connection.execute(query.where(InviteRow.secret_hash == secret_hash))).first()
    if row is None:
        return Unusable.UNKNOWN
    if row.used_at is not None:
        return Unusable.USED
    return Unusable.EXPIRED if row.expires_at <= now else Invite(row.site, row.expires_at)
