"""Sites that there were before are not suspended, and agents have no heads yet."""

from pathlib import Path

from sqlalchemy import Connection, text

from penstock.names import AgentId
from penstock_relay.store import Site, Store
from penstock_relay.store.database import Database, _engine
from penstock_relay.store.models import Base
from tests.harness.ledgers import Ledger
from tests.relay.store.accounts import url_in
from tests.relay.store.migrations.versions.test_v0002_accounts import tables_in


async def test_sites_go_on_and_agents_can_say_heads(tmp_path: Path) -> None:
    from alembic import command
    from alembic.config import Config

    from penstock_relay.store import migrations

    def make(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(str(migrations.__file__)).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, "0011")

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
        assert await store.sites.list() == [Site("mill", 100.0, 1)]
        assert await store.sites.suspended() == frozenset()
        agent, head = AgentId("mill", "one"), Ledger().head(1)
        assert await store.heads.current(agent) is None
        await store.heads.keep([(agent, head)])
        assert await store.heads.current(agent) == head
    assert tables_in(tmp_path) == {*Base.metadata.tables, "alembic_version"}
