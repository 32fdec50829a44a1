"""The end of what a user has: logins, grants with their tokens, and what would still become a grant."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock_relay.store.models import CodeRow, ConsentRow, GrantRow, GrantTokenRow, LoginRow
from penstock_relay.store.revocation import end_grants


@dataclass(frozen=True, slots=True)
class Ended:
    """How many of each were good, and ended now."""

    logins: int = 0
    grants: int = 0
    tokens: int = 0


async def end_logins(connection: AsyncConnection, now: float, *which: ColumnElement[bool]) -> int:
    """Ends the logins of ``which``; how many were good."""
    good = select(func.count()).select_from(LoginRow).where(LoginRow.expires_at > now, *which)
    count = (await connection.execute(good)).scalar_one()
    await connection.execute(delete(LoginRow).where(*which))
    return count


async def end_grants_of(
    connection: AsyncConnection, user: str, now: float, *, reason: str | None = None
) -> Ended:
    """Ends all that the user granted, and makes sure that nothing comes of what was begun before.

    ``reason`` is one word, where it is not that the actor asked for it.
    """
    good = (GrantRow.user == user, GrantRow.expires_at > now, GrantRow.idle_at > now)
    tokens = (
        select(func.count())
        .select_from(GrantTokenRow)
        .join(GrantRow, GrantRow.id == GrantTokenRow.grant_id)
        .where(*good, GrantRow.revoked_at.is_(None), GrantTokenRow.expires_at > now)
    )
    count = (await connection.execute(tokens)).scalar_one()
    ended = await end_grants(connection, now, *good, reason=reason)
    # A used code stays: a client that shows it again gave it to somebody.
    await connection.execute(
        update(CodeRow).where(CodeRow.user == user, CodeRow.used_at.is_(None)).values(expires_at=now)
    )
    await connection.execute(delete(ConsentRow).where(ConsentRow.user == user))
    return Ended(grants=ended, tokens=count)
