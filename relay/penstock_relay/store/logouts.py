"""Logins that were ended before their time. Others need no record: their cookie says when they end."""

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock_relay.store.database import Database
from penstock_relay.store.models import LogoutRow


class Logouts:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, login_hash: bytes, expires_at: float) -> None:
        """Ends a login, which would have ended by itself at ``expires_at``. Twice is harmless."""
        async with self._database.writing(unrecorded="the page records who left") as connection:
            if not await _has(connection, login_hash):
                row = insert(LogoutRow).values(login_hash=login_hash, expires_at=expires_at)
                await connection.execute(row)

    async def has(self, login_hash: bytes) -> bool:
        async with self._database.reading() as connection:
            return await _has(connection, login_hash)

    async def purge(self, now: float) -> int:
        """Forgets those that have ended by themselves; how many."""
        async with self._database.writing(unrecorded="they are over") as connection:
            gone = await connection.execute(delete(LogoutRow).where(LogoutRow.expires_at <= now))
            return gone.rowcount


async def _has(connection: AsyncConnection, login_hash: bytes) -> bool:
    query = select(LogoutRow.login_hash).where(LogoutRow.login_hash == login_hash)
    return (await connection.execute(query)).first() is not None
