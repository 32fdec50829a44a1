"""The database: made private, migrated once, written by several at once."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError, OperationalError

from penstock_relay.store import SiteExists, Store, StoreError
from penstock_relay.store.database import HEAD, Database
from penstock_relay.store.models import Base


def url_in(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder / 'relay.db'}"


async def test_the_folder_and_its_files_are_private(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "state"
    async with await Store.open(url_in(folder)) as store:
        await store.sites.add("here", 1.0)
        modes = {name: (folder / name).stat().st_mode & 0o777 for name in os.listdir(folder)}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert modes == {"relay.db": 0o600, "relay.db-wal": 0o600, "relay.db-shm": 0o600}


async def test_every_connection_has_the_pragmas(tmp_path: Path) -> None:
    database = await Database.open(url_in(tmp_path))
    async with database.reading() as one, database.reading() as two:
        for connection in (one, two):
            found = [
                (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()
                for name in ("journal_mode", "foreign_keys", "busy_timeout")
            ]
            assert found == ["wal", 1, 10_000]
    await database.close()


async def test_migrations_and_models_say_the_same(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    from penstock_relay.store import migrations

    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))

    database = await Database.open(url_in(tmp_path))
    async with database.reading() as connection:
        assert await connection.run_sync(differences) == []
        assert (
            await connection.execute(text("SELECT version_num FROM alembic_version"))
        ).scalar_one() == HEAD
    await database.close()
    config = Config()
    config.set_main_option("script_location", str(Path(str(migrations.__file__)).parent))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


async def test_records_are_there_after_opening_again_without_alembic(tmp_path: Path) -> None:
    async with await Store.open(url_in(tmp_path)) as store:
        await store.sites.add("here", 1.0)
    script = (
        "import asyncio, sys\n"
        "from penstock_relay.store import Store\n"
        "async def main():\n"
        f"    async with await Store.open({url_in(tmp_path)!r}) as store:\n"
        "        print(await store.sites.exists('here'), 'alembic' in sys.modules)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "True False\n"


async def test_a_failed_migration_leaves_nothing_behind(tmp_path: Path) -> None:
    # A table in the way makes the first migration fail in its middle, after it has made others.
    with closing(sqlite3.connect(tmp_path / "relay.db")) as connection:
        connection.execute("CREATE TABLE invites (x)")
    with pytest.raises(StoreError, match=r"Cannot use the database .*relay.db: table invites already exists"):
        await Store.open(url_in(tmp_path))
    with closing(sqlite3.connect(tmp_path / "relay.db")) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    assert tables == [("invites",)]


async def test_a_database_of_a_newer_version_is_refused_and_untouched(tmp_path: Path) -> None:
    database = await Database.open(url_in(tmp_path))
    async with database.writing() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await database.close()
    with pytest.raises(StoreError, match=r"written by a newer version of Penstock .*schema 9999"):
        await Store.open(url_in(tmp_path))


async def test_a_file_that_is_no_database_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "relay.db").write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(StoreError, match=r"relay.db: file is not a database"):
        await Store.open(url_in(tmp_path))


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"Cannot make the database .*/file/state/relay.db: .*set state_dir"):
        await Store.open(url_in(tmp_path / "file" / "state"))


async def test_an_exception_undoes_the_whole_write(tmp_path: Path) -> None:
    database = await Database.open(url_in(tmp_path))
    before = await database.change_sequence()

    async def twice() -> None:
        async with database.writing() as connection:
            await connection.execute(text("INSERT INTO sites (name, created_at) VALUES ('here', 1.0)"))
            await connection.execute(text("INSERT INTO sites (name, created_at) VALUES ('here', 1.0)"))

    with pytest.raises(IntegrityError):
        await twice()
    async with database.reading() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM sites"))).scalar_one() == 0
    assert await database.change_sequence() == before
    await database.close()


async def test_a_reader_sees_one_state_however_long_it_reads(tmp_path: Path) -> None:
    async with await Store.open(url_in(tmp_path)) as store:
        database = store._database
        async with database.reading() as connection:
            assert (await connection.execute(text("SELECT count(*) FROM sites"))).scalar_one() == 0
            await store.sites.add("here", 1.0)
            assert (await connection.execute(text("SELECT count(*) FROM sites"))).scalar_one() == 0


async def test_a_reader_cannot_write(tmp_path: Path) -> None:
    database = await Database.open(url_in(tmp_path))
    with pytest.raises(OperationalError, match="attempt to write a readonly database"):
        async with database.reading() as connection:
            await connection.execute(text("UPDATE changes SET sequence = 7"))
    async with database.writing() as connection:
        await connection.execute(text("INSERT INTO sites (name, created_at) VALUES ('here', 1.0)"))
    await database.close()


async def test_fifty_writers_at_once_all_get_their_turn(tmp_path: Path) -> None:
    async with await Store.open(url_in(tmp_path)) as one, await Store.open(url_in(tmp_path)) as two:
        before = await one.change_sequence()
        async with asyncio.TaskGroup() as group:
            for number in range(50):
                group.create_task((one, two)[number % 2].sites.add(f"site-{number}", 1.0))
        assert await two.change_sequence() == before + 50
        assert len(await one.sites.list()) == 50


async def test_several_processes_can_make_the_database_at_once(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from penstock_relay.store import Store\n"
        "async def main():\n"
        f"    async with await Store.open({url_in(tmp_path)!r}) as store:\n"
        "        await store.sites.add(sys.argv[1], 1.0)\n"
        "sys.stdin.read()\n"
        "asyncio.run(main())\n"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", script, f"site-{n}"], env=environment(), stdin=subprocess.PIPE
        )
        for n in range(4)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.close()
    assert [racer.wait(timeout=60) for racer in racers] == [0, 0, 0, 0]
    async with await Store.open(url_in(tmp_path)) as store:
        assert [site.name for site in await store.sites.list()] == [f"site-{n}" for n in range(4)]
        assert await store.change_sequence() == 4


async def test_a_write_of_another_process_moves_the_change_sequence(tmp_path: Path) -> None:
    async with await Store.open(url_in(tmp_path)) as running, await Store.open(url_in(tmp_path)) as command:
        before = await running.change_sequence()
        await command.sites.add("here", 1.0)
        assert await running.change_sequence() > before
        with pytest.raises(SiteExists):
            await running.sites.add("here", 2.0)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.mark.parametrize("writes", [True, False])
async def test_a_cancellation_stays_one_wherever_it_strikes(tmp_path: Path, writes: bool) -> None:
    """What it interrupts must not look like a store that fails: who tries again then would never end."""
    async with await Store.open(url_in(tmp_path)) as store:

        async def work() -> int:
            return await (store.clients.purge(0.0) if writes else store.change_sequence())

        for number in range(120):
            task = asyncio.ensure_future(work())  # noqa: TID251  owned by this test, and waited for
            # In real time: what is interrupted is in the thread of the driver.
            asyncio.get_running_loop().call_later(number / 20_000, task.cancel)
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(outcome, int | asyncio.CancelledError), outcome
            assert not await store.sites.list()
