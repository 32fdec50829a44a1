"""Agents' certificates in the store: renewed one after the other, whoever asks at once."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.names import AgentId
from penstock.renewal import EXPIRED_FOR
from penstock_relay.store import (
    Agent,
    Invite,
    Lock,
    NoSuchAgent,
    NoSuchSite,
    OtherFingerprint,
    Site,
    Standing,
    Store,
    Successor,
    Unusable,
)

ONE = AgentId("mill", "one")
SECRET = b"s" * 32


def agent(serial: str = "1", name: str = "one", approved_at: float | None = 100.0) -> Agent:
    return Agent(AgentId("mill", name), serial, 5000.0, 100.0, approved_at, serial.encode().ljust(32))


def successor(serial: str) -> Successor:
    return Successor(serial, serial.encode().ljust(32), 9000.0)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'relay.db'}") as store:
        await store.sites.add("mill", 100.0)
        await store.agents.add(agent())
        yield store


async def renew(store: Store, old: str, new: str, now: float = 200.0, *, linked: bool = False) -> Standing:
    standing, generation = await store.certificates.renew(old, successor(new), now, linked=linked)
    assert (generation > 0) == (standing is Standing.GOOD)
    return standing


async def the_agent(store: Store) -> Agent:
    found = await store.agents.find(ONE)
    assert found is not None
    return found


async def test_a_renewal_makes_the_next_generation(store: Store) -> None:
    assert await store.certificates.renew("1", successor("2"), 200.0, linked=False) == (Standing.GOOD, 2)
    found = await the_agent(store)
    assert (found.serial, found.not_after, found.generation) == ("2", 9000.0, 2)
    assert found.fingerprint == b"2".ljust(32)
    assert found.enrolled_at == 100.0, "it joined when it joined"
    known = await store.certificates.lineage("1")
    assert known == await store.certificates.lineage("2")
    assert known is not None
    assert [(c.serial, c.seen_at) for c in known.certificates] == [("1", 200.0), ("2", None)]


async def test_an_unknown_certificate_has_no_lineage_and_no_successor(store: Store) -> None:
    assert await store.certificates.lineage("9") is None
    assert await renew(store, "9", "2") is Standing.UNKNOWN
    assert await store.certificates.use("9", 200.0) is Standing.UNKNOWN
    await store.certificates.confirm("9", 200.0)
    assert (await the_agent(store)).generation == 1


async def test_a_lost_answer_locks_nobody(store: Store) -> None:
    assert await renew(store, "1", "2") is Standing.GOOD
    assert await renew(store, "1", "3", 300.0) is Standing.GOOD
    assert await store.certificates.use("3", 400.0) is Standing.GOOD
    assert (await the_agent(store)).lock is None


async def test_an_answer_that_was_not_lost_after_all_locks(store: Store) -> None:
    await renew(store, "1", "2")
    await renew(store, "1", "3", 300.0)
    assert await store.certificates.use("2", 400.0) is Standing.FORKED
    found = await the_agent(store)
    assert (found.lock, found.locked_at) == (Lock.CLONE, 400.0)
    assert await store.certificates.use("3", 500.0) is Standing.LOCKED
    assert (await the_agent(store)).locked_at == 400.0


@pytest.mark.parametrize("told", ["link", "stored", "renewal"])
async def test_once_the_newer_one_was_seen_the_older_is_a_copy(store: Store, told: str) -> None:
    await renew(store, "1", "2")
    if told == "link":
        assert await store.certificates.use("2", 300.0) is Standing.GOOD
    elif told == "stored":
        await store.certificates.confirm("2", 300.0)
    else:
        await renew(store, "2", "3", 300.0)
    assert await store.certificates.use("1", 400.0) is Standing.SUPERSEDED
    assert (await the_agent(store)).lock is None, "an old link is no proof: it may have been dialled before"
    assert await renew(store, "1", "4", 500.0) is Standing.FORKED
    assert (await the_agent(store)).lock is Lock.SNAPSHOT
    assert await renew(store, "2", "5", 600.0) is Standing.LOCKED


async def test_a_copy_beside_a_link_is_a_clone(store: Store) -> None:
    await renew(store, "1", "2")
    await store.certificates.confirm("2", 300.0)
    assert await renew(store, "1", "3", linked=True) is Standing.FORKED
    assert (await the_agent(store)).lock is Lock.CLONE


async def test_of_many_renewals_at_once_each_has_a_number_of_its_own(store: Store, tmp_path: Path) -> None:
    async with (
        await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'relay.db'}") as other,
        asyncio.TaskGroup() as tasks,
    ):
        done = [
            tasks.create_task(
                (store, other)[n % 2].certificates.renew("1", successor(f"a{n}"), 200.0, linked=False)
            )
            for n in range(20)
        ]
    assert sorted(task.result()[1] for task in done) == list(range(2, 22))
    assert {task.result()[0] for task in done} == {Standing.GOOD}
    assert (await the_agent(store)).generation == 21


async def test_old_generations_are_forgotten(store: Store) -> None:
    await renew(store, "1", "2")
    await renew(store, "2", "3", 5000.0 + EXPIRED_FOR)
    assert await store.certificates.lineage("1") is None
    known = await store.certificates.lineage("3")
    assert known is not None
    assert [c.serial for c in known.certificates] == ["2", "3"]


# -- approval, revocation -------------------------------------------------------------------------


async def test_an_agent_is_approved_by_its_whole_fingerprint(store: Store) -> None:
    await store.agents.add(agent("7", "two", approved_at=None))
    two = AgentId("mill", "two")
    assert await store.certificates.use("7", 200.0) is Standing.WAITING
    assert await renew(store, "7", "8") is Standing.WAITING
    with pytest.raises(OtherFingerprint, match="agent revoke mill two"):
        await store.agents.approve(two, b"1".ljust(32), 300.0)
    assert await store.certificates.use("7", 200.0) is Standing.WAITING
    assert await store.agents.approve(two, b"7".ljust(32), 300.0) is True
    assert await store.agents.approve(two, b"7".ljust(32), 400.0) is False
    found = await store.agents.find(two)
    assert found is not None
    assert found.approved_at == 300.0
    assert await store.certificates.use("7", 500.0) is Standing.GOOD


async def test_who_is_not_there_is_neither_approved_nor_revoked(store: Store) -> None:
    nobody = AgentId("mill", "nobody")
    with pytest.raises(NoSuchAgent, match="penstock-relay agent list --site mill"):
        await store.agents.approve(nobody, bytes(32), 1.0)
    with pytest.raises(NoSuchAgent):
        await store.agents.revoke(nobody, 1.0)


async def test_a_revoked_agent_keeps_the_moment_of_its_first_revocation(store: Store) -> None:
    await renew(store, "1", "2")
    assert await store.agents.revoke(ONE, 300.0) is True
    assert await store.agents.revoke(ONE, 400.0) is False
    assert (await the_agent(store)).revoked_at == 300.0
    for serial in ("1", "2"):
        assert await store.certificates.use(serial, 500.0) is Standing.REVOKED
        assert await renew(store, serial, "3") is Standing.REVOKED


async def test_links_of_a_certificate_are_superseded_once_a_newer_one_was_seen(store: Store) -> None:
    await renew(store, "1", "2")
    assert await store.certificates.ended(["1", "2"]) == {}
    await store.certificates.confirm("2", 300.0)
    assert await store.certificates.ended(["1", "2"]) == {"1": Standing.SUPERSEDED}


async def test_links_that_must_end_are_found_among_many(store: Store) -> None:
    for n in range(1200):
        if n % 400 == 0:
            await store.agents.add(agent(f"b{n}", f"b{n}"))
    serials = ["1", "unknown", *(f"b{n}" for n in range(1200))]
    assert await store.certificates.ended(serials) == {}
    await store.agents.revoke(AgentId("mill", "b800"), 300.0)
    await renew(store, "1", "2")
    await store.certificates.confirm("2", 300.0)
    await renew(store, "1", "3")
    assert await store.certificates.ended(serials) == {"1": Standing.LOCKED, "b800": Standing.REVOKED}
    assert await store.certificates.ended([]) == {}


# -- another machine in an agent's place ----------------------------------------------------------


async def replaced(store: Store, **more: object) -> None:
    await store.invites.create("mill", SECRET, 300.0, 400.0, "one")
    assert await store.invites.find(SECRET, 300.0) == Invite("mill", 400.0, "one")
    newcomer = replace(agent("8"), enrolled_at=350.0, approved_at=350.0, **more)  # type: ignore[arg-type]
    assert await store.invites.take(SECRET, newcomer, 350.0) is None


async def test_a_newcomer_takes_the_place_and_the_old_certificates_are_revoked(store: Store) -> None:
    await renew(store, "1", "2")
    await replaced(store)
    assert await store.certificates.use("8", 360.0) is Standing.GOOD
    for serial in ("1", "2"):
        assert await store.certificates.use(serial, 360.0) is Standing.REVOKED
        known = await store.certificates.lineage(serial)
        assert known is not None
        assert known.ended_at(serial) == (350.0, True)
    assert await store.certificates.ended(["1", "2", "8"]) == {"1": Standing.REVOKED, "2": Standing.REVOKED}
    found = await the_agent(store)
    assert (found.serial, found.generation, found.enrolled_at) == ("8", 3, 350.0)
    assert await store.sites.list() == [Site("mill", 100.0, 1)]


@pytest.mark.parametrize("ended", ["locked", "revoked"])
async def test_it_lifts_a_lock_and_comes_after_a_revocation(store: Store, ended: str) -> None:
    if ended == "revoked":
        await store.agents.revoke(ONE, 250.0)
    else:
        await renew(store, "1", "2")
        await store.certificates.confirm("2", 250.0)
        await renew(store, "1", "3")
    await replaced(store)
    assert await store.certificates.use("8", 360.0) is Standing.GOOD
    assert await store.certificates.use("1", 360.0) is Standing.REVOKED


async def test_where_the_site_wants_approval_the_newcomer_waits_too(store: Store) -> None:
    await store.sites.add("port", 1.0, require_approval=True)
    assert await store.sites.requires_approval("port")
    assert not await store.sites.requires_approval("mill")
    with pytest.raises(NoSuchSite):
        await store.sites.requires_approval("dam")
    await store.invites.create("port", SECRET, 300.0, 400.0)
    assert await store.invites.find(SECRET, 300.0) == Invite("port", 400.0, approval=True)
    await store.agents.revoke(ONE, 1.0)
    await store.invites.create("mill", b"t" * 32, 300.0, 400.0, "one")
    newcomer = replace(agent("8"), approved_at=None)
    assert await store.invites.take(b"t" * 32, newcomer, 350.0) is None
    assert await store.certificates.use("8", 360.0) is Standing.WAITING


async def test_a_place_that_nobody_has_cannot_be_taken(store: Store) -> None:
    with pytest.raises(NoSuchAgent):
        await store.invites.create("mill", SECRET, 300.0, 400.0, "nobody")
    await store.invites.create("mill", SECRET, 300.0, 400.0, "one")
    # The name is the invite's to choose.
    assert await store.invites.take(SECRET, agent("8", "two"), 350.0) is Unusable.UNKNOWN
    assert isinstance(await store.invites.find(SECRET, 350.0), Invite)
