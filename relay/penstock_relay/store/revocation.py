"""The end of grants, whatever ends them."""

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock_relay.audit import Kind
from penstock_relay.store.models import GrantRow
from penstock_relay.store.record import record


async def end_grants(
    connection: AsyncConnection, now: float, *which: ColumnElement[bool], reason: str | None = None
) -> int:
    """Revokes those of ``which`` that are not revoked yet, and records each; how many.

    ``reason`` is one word, where it is not that the actor asked for it.
    """
    found = select(GrantRow.id, GrantRow.user, GrantRow.client_id, GrantRow.site, GrantRow.server).where(
        GrantRow.revoked_at.is_(None), *which
    )
    grants = (await connection.execute(found.order_by(GrantRow.created_at, GrantRow.id))).all()
    for grant in grants:
        await connection.execute(update(GrantRow).where(GrantRow.id == grant.id).values(revoked_at=now))
        await record(
            connection,
            Kind.GRANT_REVOKED,
            grant=grant.id,
            user=grant.user,
            client=grant.client_id,
            site=grant.site,
            server=grant.server or None,
            reason=reason,
        )
    return len(grants)
