"""OAuth clients that registered themselves, and those that the operator made. Those that have a metadata
document are not kept."""

from dataclasses import dataclass

from sqlalchemy import Row, delete, func, insert, select, update

from penstock_relay.audit import Kind
from penstock_relay.store.database import Database, StoreError
from penstock_relay.store.models import ClientRow, GrantRow
from penstock_relay.store.record import record
from penstock_relay.store.revocation import end_grants


class NoSuchClient(StoreError):
    """There is no client of that id."""

    def __init__(self, client_id: str) -> None:
        super().__init__(f"There is no client {client_id!r}. See: penstock-relay client list")


@dataclass(frozen=True, slots=True)
class ClientRecord:
    """Times in seconds since the epoch; ``used_at`` None until a user connected it.

    ``preregistered`` ones were made by the operator, and stay until he removes them; ``jwks`` is the key set
    of one that signs.
    """

    client_id: str
    name: str
    redirect_uris: tuple[str, ...]
    auth_method: str
    secret_hash: bytes | None
    created_at: float
    used_at: float | None = None
    preregistered: bool = False
    jwks: bytes | None = None


class Clients:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, client: ClientRecord, most: int) -> bool:
        """False when ``most`` are kept, and all were used. The oldest that was never used makes room.

        Those that the operator made neither count nor make room.
        """
        registered = ClientRow.preregistered.is_(False)
        async with self._database.writing() as connection:
            counted = select(func.count()).select_from(ClientRow).where(registered)
            count = (await connection.execute(counted)).scalar_one()
            dropped = None
            if count >= most and not client.preregistered:
                oldest = (
                    select(ClientRow.client_id)
                    .where(ClientRow.used_at.is_(None), registered)
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
                    preregistered=client.preregistered,
                    jwks=client.jwks,
                )
            )
            await record(
                connection,
                Kind.CLIENT_ADDED if client.preregistered else Kind.CLIENT_REGISTERED,
                client=client.client_id,
                client_name=client.name,
                auth=client.auth_method,
                **({} if dropped is None else {"dropped": dropped}),
            )
            return True

    async def find(self, client_id: str) -> ClientRecord | None:
        query = _COLUMNS.where(ClientRow.client_id == client_id)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else _record(row)

    async def list(self) -> list[ClientRecord]:
        """All, the operator's first, then by the time they came."""
        query = _COLUMNS.order_by(ClientRow.preregistered.desc(), ClientRow.created_at, ClientRow.client_id)
        async with self._database.reading() as connection:
            return [_record(row) for row in await connection.execute(query)]

    async def remove(self, client_id: str, now: float) -> int:
        """Forgets the client and ends what users granted it; how many grants. Raises NoSuchClient."""
        async with self._database.writing() as connection:
            found = select(ClientRow.name).where(ClientRow.client_id == client_id)
            name = (await connection.execute(found)).scalar_one_or_none()
            if name is None:
                raise NoSuchClient(client_id)
            await connection.execute(delete(ClientRow).where(ClientRow.client_id == client_id))
            good = (GrantRow.client_id == client_id, GrantRow.expires_at > now, GrantRow.idle_at > now)
            ended = await end_grants(connection, now, *good, reason="client_removed")
            await record(connection, Kind.CLIENT_REMOVED, client=client_id, client_name=name, grants=ended)
            return ended

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
                delete(ClientRow).where(
                    ClientRow.used_at.is_(None),
                    ClientRow.created_at < before,
                    ClientRow.preregistered.is_(False),
                )
            )
            if gone.rowcount:
                await record(connection, Kind.CLIENTS_PURGED, count=gone.rowcount)
            return gone.rowcount


def _record(
    row: Row[str, str, list[str], str, bytes | None, float, float | None, bool, bytes | None],
) -> ClientRecord:
    client_id, name, uris, method, secret_hash, created_at, used_at, preregistered, jwks = row
    return ClientRecord(
        client_id, name, tuple(uris), method, secret_hash, created_at, used_at, preregistered, jwks
    )


_COLUMNS = select(
    ClientRow.client_id,
    ClientRow.name,
    ClientRow.redirect_uris,
    ClientRow.auth_method,
    ClientRow.secret_hash,
    ClientRow.created_at,
    ClientRow.used_at,
    ClientRow.preregistered,
    ClientRow.jwks,
)
