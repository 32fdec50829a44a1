"""Users that there were before second factors have none, and are as they were."""

from pathlib import Path

from sqlalchemy import Connection, text

from penstock_relay.store import Factor, Store, User
from penstock_relay.store.database import Database, _engine
from penstock_relay.store.models import Base
from tests.relay.store.accounts import url_in
from tests.relay.store.migrations.versions.test_v0002_accounts import tables_in


async def test_users_go_on_without_a_factor_and_can_have_one(tmp_path: Path) -> None:
    from alembic import command
    from alembic.config import Config

    from penstock_relay.store import migrations

    def make(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(str(migrations.__file__)).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, "0010")

    database = Database(_engine(url_in(tmp_path)))
    async with database._writer.begin() as connection:
        await connection.run_sync(make)
        await connection.execute(text("INSERT INTO users VALUES ('alice', '', 'hash', 100.0, NULL)"))
    await database.close()
    async with await Store.open(url_in(tmp_path)) as store:
        assert await store.users.find("alice") == User("alice", "", "hash", 100.0, factor=False)
        factor = Factor("alice", b"sealed", 200.0, 6)
        assert await store.factors.add(factor, [b"r" * 32], password_hash="hash")
        assert await store.factors.find("alice") == factor
    assert tables_in(tmp_path) == {*Base.metadata.tables, "alembic_version"}
