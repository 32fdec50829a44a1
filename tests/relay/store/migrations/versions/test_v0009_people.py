"""From the third version of the schema to the sixth: members that there were stay, as users."""

from pathlib import Path

from sqlalchemy import Connection, text

from penstock_relay.oauth.upstream.person import Person
from penstock_relay.store import Membership, Role, Store
from penstock_relay.store.database import Database, _engine
from penstock_relay.store.models import Base
from tests.relay.store.accounts import url_in
from tests.relay.store.migrations.versions.test_v0002_accounts import tables_in


async def made_by_the_third_version(folder: Path) -> None:
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
            "INSERT INTO sites VALUES ('mill', 100.0)",
            "INSERT INTO users VALUES ('alice', 'a@example.com', 'hash', 100.0, NULL)",
            "INSERT INTO memberships VALUES ('alice', 'mill', '', 100.0)",
        ):
            await connection.execute(text(statement))
    await database.close()


async def test_members_of_the_third_version_may_still_call(tmp_path: Path) -> None:
    await made_by_the_third_version(tmp_path)
    async with await Store.open(url_in(tmp_path)) as store:
        assert await store.memberships.list() == [Membership("alice", "mill", None, 100.0, Role.USER)]
        assert await store.memberships.allows("alice", "mill", "files")
        alice = await store.users.find("alice")
        assert alice is not None
        assert (alice.state, alice.issuer, alice.admin) == ("active", None, False)
        # What came before and what is new fit together.
        anna = await store.people.welcome(Person("https://sso.example", "1"), 1.0, name="alice", spare="u1")
        assert anna.name == "u1"
    assert tables_in(tmp_path) == {*Base.metadata.tables, "alembic_version"}
