"""Who depends on the relay's CA: what `ca.rotation` has to know before it takes a step."""

from sqlalchemy import func, select

from penstock.names import AgentId
from penstock_relay.ca.rotation import Fleet, Holder, Invitation
from penstock_relay.store.database import Database
from penstock_relay.store.models import AgentRow, CertificateRow, InviteRow


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


# Of each agent that is not revoked, the newest certificate that it is known to have, and the bundle with it:
# one that was seen, or its first, of which a lost answer would have cost the join string. What was given and
# never seen may have been lost, bundle and all.
_SEEN = CertificateRow.seen_at.is_not(None) | (CertificateRow.issued_at == AgentRow.enrolled_at)
_HOLDERS = (
    select(
        AgentRow.site, AgentRow.agent, func.max(CertificateRow.issued_at), func.max(CertificateRow.not_after)
    )
    .join(CertificateRow, (CertificateRow.site == AgentRow.site) & (CertificateRow.agent == AgentRow.agent))
    .where(AgentRow.revoked_at.is_(None), CertificateRow.revoked_at.is_(None), _SEEN)
    .group_by(AgentRow.site, AgentRow.agent)
    .order_by(AgentRow.site, AgentRow.agent)
)
_INVITATIONS = select(InviteRow.created_at, InviteRow.expires_at).where(InviteRow.used_at.is_(None))
