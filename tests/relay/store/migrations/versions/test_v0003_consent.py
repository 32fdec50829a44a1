"""From the second version of the schema to the third: grants that there were go on, and allow everything."""

from pathlib import Path

from sqlalchemy import Connection, text

from penstock_relay.store import Store
from penstock_relay.store.database import Database, _engine
from penstock_relay.store.models import Base
from tests.relay.store.accounts import url_in
from tests.relay.store.migrations.versions.test_v0002_accounts import tables_in


async def made_by_the_second_version(folder: Path) -> None:
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
        for statement in (
            "INSERT INTO sites VALUES ('mill', 100.0)",
            "INSERT INTO users VALUES ('alice', '', 'hash', 100.0, NULL)",
            "INSERT INTO memberships VALUES ('alice', 'mill', '', 100.0)",
            "INSERT INTO grants VALUES "
            "('g1', 'alice', 'c1', 'Claude', 'mill', 'files', 'https://r/mill', 1.0, 9.0, 8.0, NULL)",
            "INSERT INTO grant_tokens VALUES ('a1', zeroblob(32), 0, 'g1', 1.0, 5.0, NULL)",
            "INSERT INTO grant_tokens VALUES ('r1', zeroblob(32), 1, 'g1', 1.0, 9.0, 2.0)",
        ):
            await connection.execute(text(statement))
    await database.close()


async def test_grants_of_the_second_version_go_on(tmp_path: Path) -> None:
    await made_by_the_second_version(tmp_path)
    async with await Store.open(url_in(tmp_path)) as store:
        holder = await store.grants.find_token("a1")
        assert holder is not None
        assert holder.member
        assert holder.grant.allowed is None  # it was given for all that the site exposes
        refresh = await store.grants.find_token("r1")
        assert refresh is not None
        assert refresh.token.used_at == 2.0
        await store.grants.allow("g1", "{}")
    assert tables_in(tmp_path) == {*Base.metadata.tables, "alembic_version"}
