"""Invites: what join strings stand for. One use, an expiry, and only the hash of the secret."""

from dataclasses import dataclass
from enum import Enum

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.names import AgentId
from penstock_relay.audit import Kind, invite_id
from penstock_relay.store.agents import Agent, NoSuchAgent, find_agent, insert_agent, replace_agent
from penstock_relay.store.database import Database
from penstock_relay.store.models import InviteRow, SiteRow
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
    replaces: str | None = None
    """The agent whose place the new one takes; None for a further agent."""
    approval: bool = False
    """Whether the site wants the new agent approved by its fingerprint."""


class Invites:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self, site: str, secret_hash: bytes, now: float, expires_at: float, replaces: str | None = None
    ) -> None:
        """Raises NoSuchSite, NoSuchAgent."""
        async with self._database.writing() as connection:
            if not await has_site(connection, site):
                raise NoSuchSite(site)
            if replaces is not None:
                identity = AgentId(site, replaces)
                if await find_agent(connection, identity) is None:
                    raise NoSuchAgent(identity)
            await connection.execute(
                insert(InviteRow).values(
                    secret_hash=secret_hash,
                    site=site,
                    created_at=now,
                    expires_at=expires_at,
                    replaces=replaces,
                )
            )
            await record(
                connection,
                Kind.AGENT_INVITED,
                site=site,
                invite=invite_id(secret_hash),
                replaces=replaces,
                expires_at=expires_at,
            )

    async def find(self, secret_hash: bytes, now: float) -> Invite | Unusable:
        """Looks without using: the answer may be out of date by the time of :meth:`take`."""
        async with self._database.reading() as connection:
            return await _find(connection, secret_hash, now)

    async def take(self, secret_hash: bytes, agent: Agent, now: float) -> Unusable | None:
        """Uses the invite up for ``agent`` and records the agent, both or neither; None when that was done.

        Where the invite replaces an agent, ``agent`` takes its name, and what that had is revoked.

        Raises sqlalchemy.exc.IntegrityError when the agent's name is in use; the invite is then unused still.
        """
        async with self._database.writing() as connection:
            found = await _find(connection, secret_hash, now)
            if isinstance(found, Unusable):
                return found
            if found.site != agent.id.site:
                return Unusable.UNKNOWN
            if found.replaces is None:
                await insert_agent(connection, agent)
            else:
                before = await find_agent(connection, agent.id)
                if before is None or found.replaces != agent.id.agent:
                    return Unusable.UNKNOWN
                await replace_agent(connection, before, agent)
            await connection.execute(
                update(InviteRow)
                .where(InviteRow.secret_hash == secret_hash)
                .values(used_at=now, used_by=agent.id.agent)
            )
            return None


async def _find(connection: AsyncConnection, secret_hash: bytes, now: float) -> Invite | Unusable:
    query = select(
        InviteRow.site, InviteRow.expires_at, InviteRow.used_at, InviteRow.replaces, SiteRow.require_approval
    ).join(SiteRow, SiteRow.name == InviteRow.site)
    row = (await connection.execute(query.where(InviteRow.secret_hash == secret_hash))).first()
    if row is None:
        return Unusable.UNKNOWN
    if row.used_at is not None:
        return Unusable.USED
    if row.expires_at <= now:
        return Unusable.EXPIRED
    return Invite(row.site, row.expires_at, row.replaces, row.require_approval)
