"""Grants that were there before proofs have none, and go on."""

from pathlib import Path

from sqlalchemy import Connection, text

from penstock_relay.store import Store
from penstock_relay.store.database import Database, _engine
from penstock_relay.store.models import Base
from tests.relay.store.accounts import url_in
from tests.relay.store.migrations.versions.test_v0002_accounts import tables_in


async def test_grants_without_a_proof_go_on(tmp_path: Path) -> None:
    from alembic import command
    from alembic.config import Config

    from penstock_relay.store import migrations

    def make(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(str(migrations.__file__)).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, "0009")

    database = Database(_engine(url_in(tmp_path)))
    async with database._writer.begin() as connection:
        await connection.run_sync(make)
        for statement in (
            "INSERT INTO sites (name, created_at) VALUES ('mill', 100.0)",
            "INSERT INTO users (name, email, created_at) VALUES ('alice', '', 100.0)",
            "INSERT INTO grants (id, user, client_id, client_name, site, server, resource, created_at, "
            "expires_at, idle_at, allowed) "
            "VALUES ('g1', 'alice', 'c1', 'Claude', 'mill', 'files', 'r', 1.0, 9.0, 8.0, '{}')",
        ):
            await connection.execute(text(statement))
    await database.close()
    async with await Store.open(url_in(tmp_path)) as store:
        (grant,) = await store.grants.list()
        assert (grant.allowed, grant.proof) == ("{}", None)
    assert tables_in(tmp_path) == {*Base.metadata.tables, "alembic_version"}
