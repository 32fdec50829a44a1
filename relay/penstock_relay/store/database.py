"""The engine under the store: opened, migrated, and read or written in whole transactions."""

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from sqlalchemy import Connection, event, select, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from penstock_relay import files
from penstock_relay.audit import RELAY, Actor
from penstock_relay.store.models import ChangeRow

HEAD: Final = "0013"
"""Newest migration. Known here so that a command on a current database never loads Alembic."""

BUSY_TIMEOUT_S: Final = 10
"""How long one process waits for another one's write."""


class StoreError(Exception):
    """The store cannot be used; the text says why and what to do."""


class Unrecorded(RuntimeError):
    """A write changed something and did not say so in the audit log; it was undone. A mistake of ours."""


@dataclass(slots=True)
class Write:
    """One transaction that writes: in whose name, at what time, and what it did so far."""

    actor: Actor
    now: float
    changed: bool = False
    recorded: bool = False


class Database:
    """Transactions on the relay's SQLite database, which several processes use at once.

    Whatever is written is written in the name of an actor: the relay itself, unless :meth:`by` says another.
    """

    def __init__(self, engine: AsyncEngine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock
        self._actor = RELAY
        self._writer = engine.execution_options(penstock_write=True)
        # SQLite has one writer. Queueing here is fair; its own busy handler polls, and may starve one.
        self._write_turn = asyncio.Lock()

    @classmethod
    async def open(cls, url: str, clock: Callable[[], float] = time.time) -> Self:
        """Opens the database, making it (mode 0600) and bringing it to HEAD first. Raises StoreError.

        ``clock`` gives the time of audit records, in seconds since the epoch.
        """
        path = Path(make_url(url).database or "")
        try:
            files.make_folder(path.parent)
            files.touch(path)
        except OSError as error:
            raise StoreError(
                f"Cannot make the database {path}: {error.strerror}. Run as the relay's user, or set "
                "state_dir to a folder that this user may write."
            ) from None
        database = cls(_engine(url), clock)
        try:
            await database._migrate(path)
        except SQLAlchemyError as error:
            await database.close()
            raise StoreError(f"Cannot use the database {path}: {_cause(error)}.") from None
        except BaseException:
            await database.close()
            raise
        return database

    def by(self, actor: Actor) -> Self:
        """The same database, written in the name of ``actor``."""
        view = copy.copy(self)
        view._actor = actor
        return view

    @property
    def actor(self) -> Actor:
        return self._actor

    def now(self) -> float:
        return self._clock()

    async def close(self) -> None:
        """Closes every connection."""
        await self._engine.dispose()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """One consistent view of the database. Raises SQLAlchemyError."""
        async with _cancellable(), self._engine.connect() as connection:
            yield connection

    @asynccontextmanager
    async def writing(self, *, unrecorded: str = "") -> AsyncIterator[AsyncConnection]:
        """One transaction that alone may write, committed at the end, undone by an exception.

        It moves the change sequence, so that caches in every process notice. What it changes it must
        :func:`~penstock_relay.store.record.record`, or say in ``unrecorded`` why not. Raises SQLAlchemyError,
        and Unrecorded.
        """
        async with self._write(1) as connection:
            yield connection
            write = write_of(connection)
            if write.changed and not (write.recorded or unrecorded):
                raise Unrecorded("this write changes the store: record it, or say why it is not recorded")

    @asynccontextmanager
    async def appending(self) -> AsyncIterator[AsyncConnection]:
        """A transaction in which caches have nothing to notice: for the audit log, and what agents say."""
        async with self._write(0) as connection:
            yield connection

    @asynccontextmanager
    async def _write(self, step: int) -> AsyncIterator[AsyncConnection]:
        async with _cancellable(), self._write_turn, self._writer.begin() as connection:
            # First of all: where several may write at once, this row is what they queue for. So the audit
            # log has one order, and its newest record is still the newest when the next one is made.
            await connection.execute(update(ChangeRow).values(sequence=ChangeRow.sequence + step))
            connection.info[_WRITE] = Write(self._actor, self._clock())
            try:
                yield connection
            finally:
                connection.info.pop(_WRITE, None)

    async def change_sequence(self) -> int:
        """A number that every write of any process moves. Raises SQLAlchemyError."""
        async with self.reading() as connection:
            return (await connection.execute(select(ChangeRow.sequence))).scalar_one()

    async def _migrate(self, path: Path) -> None:
        async with self.reading() as connection:
            found = await connection.run_sync(_version)
        if found == HEAD:
            return
        # Of two processes that come here at once, the second finds the work done: Alembic looks again.
        async with self._writer.begin() as connection:
            await connection.run_sync(_upgrade, path)


@asynccontextmanager
async def _cancellable() -> AsyncIterator[None]:
    """Lets a cancellation be one.

    What it interrupts fails in its own way (PendingRollbackError, for one) and takes its place. Whoever tries
    again after such failures would never end.
    """
    try:
        yield
    except SQLAlchemyError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError from None
        raise


_WRITE: Final = "penstock_write"


def write_of(connection: AsyncConnection) -> Write:
    """What the transaction of ``connection`` is. Raises KeyError for one that only reads."""
    found: Write = connection.info[_WRITE]
    return found


def _engine(url: str) -> AsyncEngine:
    # isolation_level None: sqlite3 would begin on its own, late, and leave schema changes outside.
    engine = create_async_engine(
        url, pool_size=4, max_overflow=0, connect_args={"isolation_level": None, "timeout": BUSY_TIMEOUT_S}
    )

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for pragma in (f"busy_timeout = {BUSY_TIMEOUT_S * 1000}", "journal_mode = WAL", "foreign_keys = ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("penstock_write", False)
        # A write outside writing() would not move the change sequence, and revocation hangs on that.
        connection.exec_driver_sql(f"PRAGMA query_only = {'OFF' if write else 'ON'}")
        # A writer takes the lock at once: a transaction that begins as a reader cannot wait for it later.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    @event.listens_for(engine.sync_engine, "after_cursor_execute")
    def executed(
        connection: Connection,
        cursor: DBAPICursor,
        _statement: str,
        _parameters: object,
        context: object,
        _many: bool,
    ) -> None:
        write = connection.info.get(_WRITE)
        if isinstance(write, Write) and isinstance(context, DefaultExecutionContext):
            writes = context.isinsert or context.isupdate or context.isdelete
            write.changed |= writes and cursor.rowcount != 0

    return engine


def _version(connection: Connection) -> str | None:
    if connection.dialect.has_table(connection, "alembic_version"):
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return None


def _upgrade(connection: Connection, path: Path) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    scripts = Path(__file__).parent / "migrations"
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    found = _version(connection)
    if found is not None and found not in known:
        raise StoreError(
            f"The database {path} was written by a newer version of Penstock (schema {found}, this version "
            f"knows {HEAD}). Run that version, or restore the backup made before the upgrade."
        )
    command.upgrade(config, HEAD)


def _cause(error: SQLAlchemyError) -> str:
    # str(error) holds the statement and its parameters; the driver's own words are enough.
    return str(getattr(error, "orig", None) or type(error).__name__)
