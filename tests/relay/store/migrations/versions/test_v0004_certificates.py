"""From the third version of the schema to the fourth: agents that are there stay, and can renew."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from penstock.names import AgentId
from penstock_relay.store import Certificate, Lineage, Site, Standing, Store, StoreError, Successor
from penstock_relay.store.database import Database, _engine
from penstock_relay.store.models import Base
from tests.relay.store.accounts import url_in

ONE = AgentId("mill", "one")


async def made_by_the_third_version(folder: Path) -> None:
    """A database as the version with schema 0002 left it, with an agent that joined."""
    from alembic import command
    from alembic.config import Config

    from penstock_relay.store import migrations

    def make(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(str(migrations.__file__)).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")

    database = Database(_engine(url_in(folder)))
    async with database._writer.begin() as connection:
        await connection.run_sync(make)
        for statement in (
            "UPDATE changes SET sequence = 41",
            "INSERT INTO sites VALUES ('mill', 100.0)",
            "INSERT INTO agents VALUES ('mill', 'one', '1f', 5000.0, 200.0)",
            "INSERT INTO invites VALUES (zeroblob(32), 'mill', 100.0, 300.0, 200.0, 'one')",
        ):
            await connection.execute(text(statement))
    await database.close()


async def test_agents_that_had_joined_are_approved_and_of_the_first_generation(tmp_path: Path) -> None:
    await made_by_the_third_version(tmp_path)
    async with await Store.open(url_in(tmp_path)) as store:
        assert await store.change_sequence() == 41
        assert await store.sites.list() == [Site("mill", 100.0, 1, require_approval=False)]
        [agent] = await store.agents.list()
        assert (agent.id, agent.serial, agent.not_after, agent.enrolled_at) == (ONE, "1f", 5000.0, 200.0)
        assert (agent.approved_at, agent.fingerprint, agent.generation) == (200.0, None, 1)
        assert await store.certificates.lineage("1f") == Lineage(
            ONE, True, None, None, (Certificate("1f", 1, None, 200.0, 5000.0),)
        )
        # What came before and what is new fit together.
        assert await store.certificates.renew(
            "1f", Successor("2f", b"f" * 32, 9000.0), 300.0, linked=False
        ) == (
            Standing.GOOD,
            2,
        )
    with closing(sqlite3.connect(tmp_path / "relay.db")) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == {*Base.metadata.tables, "alembic_version"}


async def test_an_upgrade_that_fails_leaves_the_third_version_as_it_was(tmp_path: Path) -> None:
    await made_by_the_third_version(tmp_path)
    with closing(sqlite3.connect(tmp_path / "relay.db")) as connection:
        connection.execute("CREATE TABLE agent_certificates (x)")
        before = list(connection.iterdump())
    with pytest.raises(
        StoreError, match=r"Cannot use the database .*: table agent_certificates already exists"
    ):
        await Store.open(url_in(tmp_path))
    with closing(sqlite3.connect(tmp_path / "relay.db")) as connection:
        assert list(connection.iterdump()) == before
