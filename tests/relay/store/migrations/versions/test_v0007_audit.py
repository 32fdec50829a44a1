"""To the schema with an audit log, with rows of the one before it."""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, text

from penstock_relay.store import Site, Store
from penstock_relay.store.database import Database, _engine
from penstock_relay.store.migrations.versions import v0007_audit
from tests.relay.store.accounts import url_in


async def made_by_the_version_before(folder: Path) -> None:
    from alembic import command
    from alembic.config import Config

    from penstock_relay.store import migrations

    def make(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(str(migrations.__file__)).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, str(v0007_audit.down_revision))

    database = Database(_engine(url_in(folder)))
    async with database._writer.begin() as connection:
        await connection.run_sync(make)
        await connection.execute(text("INSERT INTO sites VALUES ('mill', 100.0)"))
    await database.close()


async def test_a_relay_that_had_no_audit_log_begins_one(tmp_path: Path) -> None:
    await made_by_the_version_before(tmp_path)
    async with await Store.open(url_in(tmp_path)) as store:
        assert await store.sites.list() == [Site("mill", 100.0, 0)]
        assert await store.audit.head() is None
        await store.sites.add("dam", 1.0)
        found = await store.audit.verify()
        assert (found.first, found.count) == (1, 1)
    with closing(sqlite3.connect(tmp_path / "relay.db")) as connection:
        query = "SELECT name FROM sqlite_master WHERE type = 'trigger' ORDER BY name"
        assert connection.execute(query).fetchall() == [("audit_no_delete",), ("audit_no_update",)]
