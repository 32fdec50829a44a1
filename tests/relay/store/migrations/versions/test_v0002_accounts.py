"""From the first version of the schema to the second, with rows in it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from penstock_relay.store import Membership, Site, Store, StoreError, Token, Unusable, User
from penstock_relay.store.database import Database, _engine
from penstock_relay.store.models import Base
from tests.relay.store.accounts import url_in


async def made_by_the_first_version(folder: Path) -> None:
    """A database as the version with schema 0001 left it, with a row in every table."""
    from alembic import command
    from alembic.config import Config

    from penstock_relay.store import migrations

    def make(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(str(migrations.__file__)).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")

    database = Database(_engine(url_in(folder)))
    async with database._writer.begin() as connection:
        await connection.run_sync(make)
        for statement in (
            "UPDATE changes SET sequence = 41",
            "INSERT INTO sites VALUES ('mill', 100.0)",
            "INSERT INTO agents VALUES ('mill', 'one', '1f', 5000.0, 200.0)",
            "INSERT INTO invites VALUES (zeroblob(32), 'mill', 100.0, 300.0, 200.0, 'one')",
            "INSERT INTO tokens VALUES ('abc', zeroblob(32), 'ci', 'mill', NULL, 100.0, 900.0, NULL)",
        ):
            await connection.execute(text(statement))
    await database.close()


COLUMNS = {
    "changes": "id, sequence",
    "sites": "name, created_at",
    "agents": "site, agent, serial, not_after, enrolled_at",
    "invites": "secret_hash, site, created_at, expires_at, used_at, used_by",
    "tokens": "public_id, secret_hash, name, site, server, created_at, expires_at, revoked_at",
}


def rows_of_the_first_version(folder: Path) -> dict[str, list[object]]:
    """In its own columns: later versions add some."""
    with closing(sqlite3.connect(folder / "relay.db")) as connection:
        return {
            table: connection.execute(f"SELECT {columns} FROM {table}").fetchall()
            for table, columns in COLUMNS.items()
        }


def tables_in(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "relay.db")) as connection:
        return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


async def test_a_database_of_the_first_version_is_upgraded_and_keeps_its_rows(tmp_path: Path) -> None:
    await made_by_the_first_version(tmp_path)
    before = rows_of_the_first_version(tmp_path)
    assert all(before.values())
    assert "users" not in tables_in(tmp_path)
    async with await Store.open(url_in(tmp_path)) as store:
        assert rows_of_the_first_version(tmp_path) == before
        assert await store.change_sequence() == 41
        assert await store.sites.list() == [Site("mill", 100.0, 1)]
        assert await store.tokens.find("abc") == Token("abc", bytes(32), "ci", "mill", None, 100.0, 900.0)
        assert await store.invites.find(bytes(32), 250.0) is Unusable.USED
        assert await store.users.list() == []
        # What came before and what is new fit together: a membership of a site that was there.
        await store.users.add(User("alice", "", None, 1.0), b"i" * 32, 2.0)
        assert await store.memberships.add(Membership("alice", "mill", None, 1.0)) is True
    assert tables_in(tmp_path) == {*Base.metadata.tables, "alembic_version"}


async def test_an_upgrade_that_fails_leaves_the_first_version_as_it_was(tmp_path: Path) -> None:
    await made_by_the_first_version(tmp_path)
    before = rows_of_the_first_version(tmp_path)
    with closing(sqlite3.connect(tmp_path / "relay.db")) as connection:
        connection.execute("CREATE TABLE grant_tokens (x)")  # the last of those that are made
    tables = tables_in(tmp_path)
    with pytest.raises(StoreError, match=r"Cannot use the database .*: table grant_tokens already exists"):
        await Store.open(url_in(tmp_path))
    assert tables_in(tmp_path) == tables
    assert rows_of_the_first_version(tmp_path) == before
    with closing(sqlite3.connect(tmp_path / "relay.db")) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
