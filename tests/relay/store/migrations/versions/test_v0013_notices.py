"""Agents that there were before have said nothing yet, and can."""

from pathlib import Path

from sqlalchemy import Connection, text

from penstock.names import AgentId
from penstock.tunnel.frames import Notice
from penstock_relay.store import Store
from penstock_relay.store.database import Database, _engine
from penstock_relay.store.models import Base
from tests.relay.store.accounts import url_in
from tests.relay.store.migrations.versions.test_v0002_accounts import tables_in


async def test_agents_can_say_what_waits(tmp_path: Path) -> None:
    from alembic import command
    from alembic.config import Config

    from penstock_relay.store import migrations

    def make(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(str(migrations.__file__)).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, "0012")

    database = Database(_engine(url_in(tmp_path)))
    async with database._writer.begin() as connection:
        await connection.run_sync(make)
        await connection.execute(text("INSERT INTO sites (name, created_at) VALUES ('mill', 100.0)"))
        await connection.execute(
            text(
                "INSERT INTO agents (site, agent, serial, not_after, enrolled_at) "
                "VALUES ('mill', 'one', '1f', 9000.0, 100.0)"
            )
        )
    await database.close()
    async with await Store.open(url_in(tmp_path)) as store:
        assert await store.notices.list() == {}
        agent = AgentId("mill", "one")
        await store.notices.keep([(agent, Notice(1, 0))])
        assert (await store.notices.list())[agent].notice == Notice(1, 0)
    assert tables_in(tmp_path) == {*Base.metadata.tables, "alembic_version"}
