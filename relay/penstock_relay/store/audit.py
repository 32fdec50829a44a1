"""The audit log, as kept: records are added, read and checked; only the oldest may be pruned."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Row, delete, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock_relay.audit import STRANGER, Broken, Entry, Head, Kind, Tally, Value, Verifier, event
from penstock_relay.store.database import Database, StoreError
from penstock_relay.store.models import AuditRow
from penstock_relay.store.record import append, newest, record

BATCH: Final = 500
"""Records that are read at a time."""

_NO_DELETE: Final = (
    "CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit "
    "BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END"
)


class AuditBroken(StoreError):
    """The audit log cannot be pruned, since what goes could not be checked any more."""

    def __init__(self, broken: Broken) -> None:
        super().__init__(
            f"Record {broken.sequence} of the audit log {broken}. Nothing was pruned: that would remove the "
            "traces. Keep a copy of the database, and find out what happened."
        )


@dataclass(frozen=True, slots=True)
class Verified:
    """A log that is whole: from which record, to which head (None: it is empty)."""

    first: int
    head: Head | None
    count: int


class Audit:
    def __init__(self, database: Database, tally: Tally) -> None:
        self._database = database
        self._tally = tally

    async def happened(self, kind: Kind, **fields: Value | None) -> None:
        """Records what changes nothing in the store: a login, for one, of an actor that is known.

        What the same actor repeats too often is only counted, and written with the next :meth:`flush`.
        Raises SQLAlchemyError.
        """
        what, actor = event(kind, **fields), self._database.actor
        if self._tally.often(actor, kind):
            self._tally.count(actor, what, self._database.now())
            return
        async with self._database.appending() as connection:
            await append(connection, actor, what)

    def stranger(self, kind: Kind, **fields: Value | None) -> None:
        """Counts what anybody can cause; :meth:`flush` writes it. Costs the same whatever it is."""
        self._tally.count(STRANGER, event(kind, **fields), self._database.now())

    async def flush(self) -> None:
        """Writes what was counted. Raises SQLAlchemyError; then it is counted still."""
        taken = self._tally.take()
        if not taken:
            return
        try:
            async with self._database.appending() as connection:
                for counted in taken:
                    await append(connection, counted.actor, counted.event())
        except BaseException:
            self._tally.give_back(taken)
            raise

    async def head(self) -> Head | None:
        """The newest record; None while there is none."""
        async with self._database.reading() as connection:
            return await newest(connection)

    async def entries(self, after: int = 0) -> AsyncIterator[Entry]:
        """Oldest first, as they are at this moment."""
        async with self._database.reading() as connection:
            async for entry in _entries(connection, after):
                yield entry

    async def last(
        self, most: int | None, since: float | None = None, wanted: Callable[[Entry], bool] = lambda _: True
    ) -> list[Entry]:
        """The newest ``most`` (None: all) that are ``wanted`` and not older than ``since``, oldest first."""
        found: list[Entry] = []
        below: int | None = None
        async with self._database.reading() as connection:
            while most is None or len(found) < most:
                query = _COLUMNS.order_by(AuditRow.sequence.desc()).limit(BATCH)
                if below is not None:
                    query = query.where(AuditRow.sequence < below)
                if since is not None:
                    query = query.where(AuditRow.at >= since)
                batch = [_entry(row) for row in await connection.execute(query)]
                if not batch:
                    break
                below = batch[-1].sequence
                found += [entry for entry in batch if wanted(entry)]
        return found[:most][::-1]

    async def verify(self, known: Collection[Head] = ()) -> Verified:
        """Checks every record. Raises Broken."""
        async with self._database.reading() as connection:
            return await _verified(connection, known)

    async def prune(self, before: float) -> int:
        """Removes the oldest records, up to the first that is not older than ``before``; how many.

        What is left says what went, so that it can be checked still. Raises AuditBroken.
        """
        # Looked at before the write, which others would wait for; what is added meanwhile stays.
        try:
            await self.verify()
        except Broken as broken:
            raise AuditBroken(broken) from None
        last: Entry | None = None
        count = 0
        async with self._database.reading() as connection, aclosing(_entries(connection, 0)) as entries:
            async for entry in entries:
                if entry.at >= before:
                    break
                last, count = entry, count + 1
        if last is None:
            return 0
        async with self._database.appending() as connection:
            await record(
                connection,
                Kind.AUDIT_PRUNED,
                before=before,
                through=last.sequence,
                hash=last.hash,
                count=count,
            )
            sqlite = connection.dialect.name == "sqlite"
            if sqlite:
                await connection.execute(text("DROP TRIGGER audit_no_delete"))
            await connection.execute(delete(AuditRow).where(AuditRow.sequence <= last.sequence))
            if sqlite:
                await connection.execute(text(_NO_DELETE))
        return count


_COLUMNS: Final = select(AuditRow.sequence, AuditRow.at, AuditRow.record, AuditRow.hash)


def _entry(row: Row[int, float, bytes, bytes]) -> Entry:
    return Entry(row.sequence, row.at, _bytes(row.record), _bytes(row.hash).hex())


def _bytes(value: object) -> bytes:
    """What SQLite has in a column: who wrote into it by hand may have left text."""
    return value if isinstance(value, bytes) else str(value).encode()


async def _entries(connection: AsyncConnection, after: int) -> AsyncGenerator[Entry]:
    while True:
        query = _COLUMNS.where(AuditRow.sequence > after).order_by(AuditRow.sequence).limit(BATCH)
        batch = [_entry(row) for row in await connection.execute(query)]
        if not batch:
            return
        for entry in batch:
            yield entry
        after = batch[-1].sequence


async def _verified(connection: AsyncConnection, known: Collection[Head]) -> Verified:
    verifier = Verifier(known)
    async for entry in _entries(connection, 0):
        verifier.add(entry)
    verifier.end()
    head = verifier.head
    first = 0 if head is None else head.sequence - verifier.count + 1
    return Verified(first, head, verifier.count)
