"""How a write says in the audit log what it does: in its own transaction, so neither is without the other."""

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock_relay.audit import Actor, Event, Head, Kind, Value, event, seal
from penstock_relay.store.database import write_of
from penstock_relay.store.models import AuditRow


async def record(connection: AsyncConnection, kind: Kind, **fields: Value | None) -> None:
    """Adds a record to the audit log, in the name of the actor whose write this is.

    ``connection`` is one of :meth:`Database.writing`. Raises TypeError for a field that is not the kind's.
    """
    await append(connection, write_of(connection).actor, event(kind, **fields))


async def append(connection: AsyncConnection, actor: Actor, happened: Event) -> None:
    """The same in the name of another."""
    write = write_of(connection)
    entry = seal(await newest(connection), write.now, actor, happened)
    await connection.execute(
        insert(AuditRow).values(
            sequence=entry.sequence, at=entry.at, record=entry.record, hash=bytes.fromhex(entry.hash)
        )
    )
    write.recorded = True


async def newest(connection: AsyncConnection) -> Head | None:
    """The head of the log; None while it is empty."""
    query = select(AuditRow.sequence, AuditRow.hash).order_by(AuditRow.sequence.desc()).limit(1)
    row = (await connection.execute(query)).first()
    return None if row is None else Head(row.sequence, row.hash.hex())
