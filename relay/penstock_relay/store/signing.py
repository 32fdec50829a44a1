"""Clients with a metadata document that sign: what they are verified by while the document cannot be had."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, func, insert, select

from penstock_relay.store.database import Database
from penstock_relay.store.models import SigningClientRow

_COPIED: Final = "a copy of what the client's own document says"


@dataclass(frozen=True, slots=True)
class SigningClient:
    """As its document said when a user connected it; either ``jwks`` or ``jwks_uri``."""

    client_id: str
    jwks: bytes | None
    jwks_uri: str | None
    algorithm: str | None


class SigningClients:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, client_id: str) -> SigningClient | None:
        query = select(
            SigningClientRow.client_id,
            SigningClientRow.jwks,
            SigningClientRow.jwks_uri,
            SigningClientRow.algorithm,
        ).where(SigningClientRow.client_id == client_id)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else SigningClient(*row)

    async def remember(self, client: SigningClient, now: float, most: int) -> None:
        """In the place of what was known of it; the one that was seen longest ago makes room."""
        if await self.find(client.client_id) == client:
            return
        async with self._database.writing(unrecorded=_COPIED) as connection:
            await connection.execute(
                delete(SigningClientRow).where(SigningClientRow.client_id == client.client_id)
            )
            count = (
                await connection.execute(select(func.count()).select_from(SigningClientRow))
            ).scalar_one()
            if count >= most:
                oldest = (
                    select(SigningClientRow.client_id)
                    .order_by(SigningClientRow.seen_at, SigningClientRow.client_id)
                    .limit(1)
                    .scalar_subquery()
                )
                await connection.execute(delete(SigningClientRow).where(SigningClientRow.client_id == oldest))
            await connection.execute(
                insert(SigningClientRow).values(
                    client_id=client.client_id,
                    jwks=client.jwks,
                    jwks_uri=client.jwks_uri,
                    algorithm=client.algorithm,
                    seen_at=now,
                )
            )

    async def forget(self, client_id: str) -> None:
        """For one whose document says that it does not sign any more."""
        if await self.find(client_id) is None:
            return
        async with self._database.writing(unrecorded=_COPIED) as connection:
            await connection.execute(delete(SigningClientRow).where(SigningClientRow.client_id == client_id))
