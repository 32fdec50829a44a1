"""OAuth clients that registered themselves. Those that have a metadata document are not kept."""

from dataclasses import dataclass

from sqlalchemy import delete, func, insert, select, update

from penstock_relay.audit import Kind
from penstock_relay.store.database import Database
from penstock_relay.store.models import ClientRow
from penstock_relay.store.record import record


@dataclass(frozen=True, slots=True)
class ClientRecord:
    """Times in seconds since the epoch; ``used_at`` None until a user connected it."""

    client_id: str
    name: str
    redirect_uris: tuple[str, ...]
    auth_method: str
    secret_hash: bytes | None
    created_at: float
    used_at: float | None = None


class Clients:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, client: ClientRecord, most: int) -> bool:
        """False when ``most`` are kept, and all were used. The oldest that was never used makes room."""
        async with self._database.writing() as connection:
            count = (await connection.execute(select(func.count()).select_from(ClientRow))).scalar_one()
            dropped = None
            if count >= most:
                oldest = (
                    select(ClientRow.client_id)
                    .where(ClientRow.used_at.is_(None))
                    .order_by(ClientRow.created_at, ClientRow.client_id)
                    .limit(1)
                )
                dropped = (await connection.execute(oldest)).scalar_one_or_none()
                if dropped is None:
                    return False
                await connection.execute(delete(ClientRow).where(ClientRow.client_id == dropped))
            await connection.execute(
                insert(ClientRow).values(
                    client_id=client.client_id,
                    name=client.name,
                    redirect_uris=list(client.redirect_uris),
                    auth_method=client.auth_method,
                    secret_hash=client.secret_hash,
                    created_at=client.created_at,
                    used_at=client.used_at,
                )
            )
            await record(
                connection,
                Kind.CLIENT_REGISTERED,
                client=client.client_id,
                client_name=client.name,
                dropped=dropped,
            )
            return True

    async def find(self, client_id: str) -> ClientRecord | None:
        query = select(
            ClientRow.client_id,
            ClientRow.name,
            ClientRow.redirect_uris,
            ClientRow.auth_method,
            ClientRow.secret_hash,
            ClientRow.created_at,
            ClientRow.used_at,
        ).where(ClientRow.client_id == client_id)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).first()
        if row is None:
            return None
        return ClientRecord(
            row.client_id,
            row.name,
            tuple(row.redirect_uris),
            row.auth_method,
            row.secret_hash,
            row.created_at,
            row.used_at,
        )

    async def used(self, client_id: str, now: float) -> None:
        """Marks it as used: it is kept from then on."""
        found = await self.find(client_id)
        if found is None or found.used_at is not None:
            return
        async with self._database.writing(unrecorded="the grant that it got is recorded") as connection:
            await connection.execute(
                update(ClientRow)
                .where(ClientRow.client_id == client_id, ClientRow.used_at.is_(None))
                .values(used_at=now)
            )

    async def purge(self, before: float) -> int:
        """Forgets those that were never used and registered before then; how many."""
        async with self._database.writing() as connection:
            gone = await connection.execute(
                delete(ClientRow).where(ClientRow.used_at.is_(None), ClientRow.created_at < before)
            )
            if gone.rowcount:
                await record(connection, Kind.CLIENTS_PURGED, count=gone.rowcount)
            return gone.rowcount
