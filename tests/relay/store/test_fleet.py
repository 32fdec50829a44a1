"""Who depends on the CA, as the store tells it."""

from pathlib import Path

from penstock.names import AgentId
from penstock_relay.ca.rotation import Fleet, Holder, Invitation
from penstock_relay.store import Agent, Store
from tests.relay.store.accounts import url_in

NOW = 1000.0


async def test_agents_with_their_newest_certificate_and_join_strings_that_are_open(tmp_path: Path) -> None:
    async with await Store.open(url_in(tmp_path)) as store:
        assert await store.fleet.read(NOW) == Fleet()
        await store.sites.add("mill", NOW)
        one, two = AgentId("mill", "a1"), AgentId("mill", "a2")
        await store.invites.create("mill", b"u" * 32, NOW, NOW + 100)
        await store.invites.create("mill", b"o" * 32, NOW + 1, NOW + 200)
        await store.invites.create("mill", b"e" * 32, NOW, NOW + 10)
        await store.agents.add(Agent(two, "02", NOW + 500, NOW + 5))
        assert await store.invites.take(b"u" * 32, Agent(one, "01", NOW + 400, NOW + 4), NOW + 4) is None
        assert await store.fleet.read(NOW + 10) == Fleet(
            (Holder(one, NOW + 4, NOW + 400), Holder(two, NOW + 5, NOW + 500)),
            (Invitation(NOW + 1, NOW + 200),),
        )
