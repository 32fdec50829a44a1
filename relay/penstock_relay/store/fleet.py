"""Who depends on the relay's CA: what `ca.rotation` has to know before it takes a step."""

from sqlalchemy import select

from penstock.names import AgentId
from penstock_relay.ca.rotation import Fleet, Holder, Invitation
from penstock_relay.store.database import Database
from penstock_relay.store.models import AgentRow, InviteRow


class Fleets:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, now: float) -> Fleet:
        """Agents and join strings as they are; those whose time is over for good may be missing."""
        async with self._database.reading() as connection:
            agents = await connection.execute(_HOLDERS)
            invites = await connection.execute(_INVITATIONS.where(InviteRow.expires_at > now))
            return Fleet(
                tuple(
                    Holder(AgentId(site, agent), issued_at, not_after)
                    for site, agent, issued_at, not_after in agents
                ),
                tuple(Invitation(created_at, expires_at) for created_at, expires_at in invites),
            )


# The newest certificate of each agent that is not revoked, and when it was handed out, with the bundle.
# This version gives an agent one certificate, when it enrols, and revokes none.
_HOLDERS = select(AgentRow.site, AgentRow.agent, AgentRow.enrolled_at, AgentRow.not_after).order_by(
    AgentRow.site, AgentRow.agent
)
_INVITATIONS = select(InviteRow.created_at, InviteRow.expires_at).where(InviteRow.used_at.is_(None))
