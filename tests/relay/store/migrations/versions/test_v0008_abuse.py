"""Through the schema that kept logouts, which a later one does not need: users are kept."""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, text

from penstock_relay.store import Store, User
from penstock_relay.store.database import Database, _engine
from tests.relay.store.accounts import url_in


async def made_by_the_version_before(folder: Path) -> None:
    from alembic import command
    from alembic.config import Config

    from penstock_relay.store import migrations

    def make(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(str(migrations.__file__)).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, "0008-1")

    database = Database(_engine(url_in(folder)))
    async with database._writer.begin() as connection:
        await connection.run_sync(make)
        await connection.execute(
            text("INSERT INTO users VALUES ('alice', 'a@example.com', 'hash', 1.0, NULL)")
        )
    await database.close()


def tables_in(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "relay.db")) as connection:
        return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


async def test_users_are_kept_and_no_logouts_are(tmp_path: Path) -> None:
    await made_by_the_version_before(tmp_path)
    assert "logouts" not in tables_in(tmp_path)
    async with await Store.open(url_in(tmp_path)) as store:
        assert await store.users.find("alice") == User("alice", "a@example.com", "hash", 1.0)
    assert "logouts" not in tables_in(tmp_path)
