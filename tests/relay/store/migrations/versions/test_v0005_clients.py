"""Clients of before are those that registered themselves, and stay as they were."""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, text

from penstock_relay.store import ClientRecord, Store
from penstock_relay.store.database import Database, _engine
from penstock_relay.store.models import Base
from tests.relay.store.accounts import url_in


async def made_by_the_second_version(folder: Path) -> None:
    """A database as the version with schema 0002 left it, with a client that registered itself."""
    from alembic import command
    from alembic.config import Config

    from penstock_relay.store import migrations

    def make(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(str(migrations.__file__)).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")

    database = Database(_engine(url_in(folder)))
    async with database._writer.begin() as connection:
        await connection.run_sync(make)
        await connection.execute(
            text(
                "INSERT INTO clients VALUES "
                "('dcr-1', 'App', '[\"https://a.example/cb\"]', 'none', NULL, 5.0, NULL)"
            )
        )
    await database.close()


async def test_a_client_of_before_is_still_there_and_registered_itself(tmp_path: Path) -> None:
    await made_by_the_second_version(tmp_path)
    async with await Store.open(url_in(tmp_path)) as store:
        expected = ClientRecord("dcr-1", "App", ("https://a.example/cb",), "none", None, 5.0)
        assert await store.clients.find("dcr-1") == expected
        assert not expected.preregistered
        assert await store.signing.find("dcr-1") is None
        assert await store.clients.purge(6.0) == 1  # one that registered itself and was never used
    with closing(sqlite3.connect(tmp_path / "relay.db")) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == {*Base.metadata.tables, "alembic_version"}
