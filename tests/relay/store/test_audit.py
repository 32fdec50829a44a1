"""The audit log as kept: added to, read, checked, pruned."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from penstock_relay import audit
from penstock_relay.audit import Broken, Entry, Kind, event
from penstock_relay.audit.tally import AT_ONCE
from penstock_relay.store import Store, StoreError
from penstock_relay.store.audit import AuditBroken
from penstock_relay.store.record import append
from tests.relay.store.accounts import url_in

BATCH = 10


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    async with await Store.open(url_in(tmp_path), clock=clock) as store:
        yield store


async def add(store: Store, clock: Clock, *names: str) -> None:
    """A site each, a second apart."""
    for name in names:
        await store.sites.add(name, clock.now)
        clock.now += 1


async def entries(store: Store, after: int = 0) -> list[Entry]:
    return [entry async for entry in store.audit.entries(after)]


def sites_of(found: list[Entry]) -> list[object]:
    return [entry.values()["about"].get("site") for entry in found]


def by_hand(folder: Path, *statements: str) -> None:
    """As somebody with a shell does it."""
    with closing(sqlite3.connect(folder / "relay.db")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


async def test_an_empty_log_is_whole_and_has_no_head(store: Store) -> None:
    assert await store.audit.head() is None
    assert await entries(store) == await store.audit.last(None) == []
    found = await store.audit.verify()
    assert (found.first, found.head, found.count) == (0, None, 0)


async def test_what_changes_nothing_is_recorded_too_and_caches_keep_what_they_have(store: Store) -> None:
    before = await store.change_sequence()
    await store.by(audit.user("alice")).audit.happened(Kind.LOGIN, method="password")
    (entry,) = await entries(store)
    assert entry.values()["actor"] == {"kind": "user", "name": "alice"}
    assert entry.values()["about"] == {"method": "password"}
    assert await store.change_sequence() == before


async def test_a_user_who_does_it_over_and_over_is_counted(store: Store, clock: Clock) -> None:
    alice = store.by(audit.user("alice")).audit
    for _ in range(100):
        clock.now += 0.1
        await alice.happened(Kind.LOGOUT)
    assert len(await entries(store)) == AT_ONCE
    await store.audit.flush()
    *_, last = await entries(store)
    assert last.sequence == AT_ONCE + 1
    assert last.values()["actor"] == {"kind": "user", "name": "alice"}
    assert last.values()["about"] == {"count": 100 - AT_ONCE, "first_at": "1970-01-01T00:16:40.600Z"}
    await alice.happened(Kind.LOGOUT)  # a new minute
    assert (await store.audit.verify()).count == AT_ONCE + 2


async def test_what_strangers_do_is_written_when_the_minute_is_over(store: Store, clock: Clock) -> None:
    for _ in range(1000):
        store.audit.stranger(Kind.LOGIN_FAILED, user="alice")
    store.audit.stranger(Kind.ENROLMENT_REFUSED, reason="used")
    assert await entries(store) == []
    await store.audit.flush()
    failed, refused = [entry.values() for entry in await entries(store)]
    assert failed["actor"] == refused["actor"] == {"kind": "stranger"}
    assert failed["about"] == {"user": "alice", "count": 1000, "first_at": "1970-01-01T00:16:40.000Z"}
    assert refused["about"]["reason"] == "used"
    await store.audit.flush()
    assert len(await entries(store)) == 2


async def test_what_could_not_be_written_is_written_later(store: Store, tmp_path: Path) -> None:
    store.audit.stranger(Kind.LOGIN_FAILED)
    by_hand(
        tmp_path, "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
    )
    with pytest.raises(IntegrityError):
        await store.audit.flush()
    store.audit.stranger(Kind.LOGIN_FAILED)
    by_hand(tmp_path, "DROP TRIGGER full")
    await store.audit.flush()
    (entry,) = await entries(store)
    assert entry.values()["about"]["count"] == 2


async def test_the_views_of_one_store_count_together(store: Store) -> None:
    for _ in range(AT_ONCE + 3):
        await store.by(audit.user("alice")).audit.happened(Kind.LOGIN)
    assert len(await entries(store)) == AT_ONCE


# -- reading -------------------------------------------------------------------------------------------


async def test_the_newest_come_last_and_as_many_as_are_wanted(store: Store, clock: Clock) -> None:
    await add(store, clock, "a", "b", "c", "d")
    assert sites_of(await store.audit.last(2)) == ["c", "d"]
    assert sites_of(await store.audit.last(None)) == ["a", "b", "c", "d"]
    assert sites_of(await store.audit.last(9, since=1002.0)) == ["c", "d"]
    assert sites_of(await store.audit.last(1, since=1002.0)) == ["d"]
    assert sites_of(await store.audit.last(9, since=2000.0)) == []

    def vowel(entry: Entry) -> bool:
        return sites_of([entry]) == ["a"]

    assert sites_of(await store.audit.last(2, wanted=vowel)) == ["a"]
    assert sites_of(await entries(store, after=2)) == ["c", "d"]


async def test_more_than_one_batch_is_read_whole_and_in_order(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock_relay.store.audit.BATCH", BATCH)
    count = 2 * BATCH + 1
    async with store._database.appending() as connection:
        for number in range(count):
            await append(connection, audit.RELAY, event(Kind.SITE_ADDED, site=f"s{number}"))
    names = [f"s{number}" for number in range(count)]
    assert sites_of(await entries(store)) == names
    assert sites_of(await store.audit.last(None)) == names
    assert sites_of(await store.audit.last(count - 1)) == names[1:]
    assert (await store.audit.verify()).count == count
    by_hand(tmp_path, "DROP TRIGGER audit_no_delete", f"DELETE FROM audit WHERE sequence = {BATCH + 1}")
    with pytest.raises(Broken) as broken:
        await store.audit.verify()
    assert broken.value.sequence == BATCH + 2


# -- tampering -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET at = 1",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE sequence = 1",
        "INSERT OR REPLACE INTO audit SELECT * FROM audit WHERE sequence = 1",
    ],
)
async def test_a_mistake_with_a_shell_is_refused(
    store: Store, clock: Clock, tmp_path: Path, statement: str
) -> None:
    await add(store, clock, "a", "b")
    before = await entries(store)
    try:
        by_hand(tmp_path, statement)
    except sqlite3.IntegrityError as error:
        assert "only added to" in str(error)  # noqa: PT017  the last may do nothing instead
    assert await entries(store) == before


@pytest.mark.parametrize(
    ("statement", "first"),
    [
        ("UPDATE audit SET record = replace(record, 'site', 'sité') WHERE sequence = 3", 3),
        ("UPDATE audit SET record = CAST(replace(record, '\"c\"', '\"z\"') AS BLOB) WHERE sequence = 3", 3),
        ("UPDATE audit SET hash = zeroblob(32) WHERE sequence = 3", 3),
        ("UPDATE audit SET hash = '' WHERE sequence = 3", 3),
        ("UPDATE audit SET at = 'now' WHERE sequence = 3", 3),
        ("UPDATE audit SET at = 0 WHERE sequence = 3", 3),
        ("DELETE FROM audit WHERE sequence = 3", 4),
        ("DELETE FROM audit WHERE sequence <= 3", 4),
        ("UPDATE audit SET sequence = 9 WHERE sequence = 3", 4),
    ],
)
async def test_who_removes_the_triggers_is_found_out(
    store: Store, clock: Clock, tmp_path: Path, statement: str, first: int
) -> None:
    await add(store, clock, "a", "b", "c", "d", "e")
    by_hand(tmp_path, "DROP TRIGGER audit_no_update", "DROP TRIGGER audit_no_delete", statement)
    with pytest.raises(Broken) as broken:
        await store.audit.verify()
    assert broken.value.sequence == first


async def test_an_older_copy_of_the_database_is_found_out_by_a_head(
    store: Store, clock: Clock, tmp_path: Path
) -> None:
    await add(store, clock, "a", "b", "c")
    noted = await store.audit.head()
    assert noted is not None
    assert (await store.audit.verify([noted])).count == 3
    by_hand(tmp_path, "DROP TRIGGER audit_no_delete", "DELETE FROM audit WHERE sequence = 3")
    assert (await store.audit.verify()).count == 2
    with pytest.raises(Broken, match="cut off"):
        await store.audit.verify([noted])
    await add(store, clock, "d")
    with pytest.raises(Broken, match="written anew, or restored"):
        await store.audit.verify([noted])


# -- pruning -------------------------------------------------------------------------------------------


async def test_pruning_leaves_a_log_that_can_be_checked(store: Store, clock: Clock) -> None:
    await add(store, clock, "a", "b", "c", "d")
    all_of_them = await entries(store)
    root = store.by(audit.command(0, "root", "host1", None))
    assert await root.audit.prune(1002.0) == 2
    left = await entries(store)
    assert left[:2] == all_of_them[2:]
    said = left[2].values()
    assert (said["kind"], said["actor"]["name"]) == ("audit_pruned", "root")
    assert said["about"] == {
        "before": "1970-01-01T00:16:42.000Z", "through": 2, "hash": all_of_them[1].hash, "count": 2,
    }  # fmt: skip
    found = await store.audit.verify([all_of_them[1].head, all_of_them[3].head])
    assert (found.first, found.count) == (3, 3)
    assert await root.audit.prune(1002.0) == 0
    assert len(await entries(store)) == 3
    # Everything may go but what says so.
    assert await root.audit.prune(9999.0) == 3
    assert [entry.values()["kind"] for entry in await entries(store)] == ["audit_pruned"]
    assert (await store.audit.verify()).first == 6


async def test_pruning_stops_at_the_first_record_that_is_not_older(store: Store, clock: Clock) -> None:
    await add(store, clock, "a")
    clock.now = 5000.0  # the clock was wrong for a while
    await add(store, clock, "b")
    clock.now = 1001.0
    await add(store, clock, "c")
    assert await store.audit.prune(2000.0) == 1
    assert sites_of(await entries(store))[:2] == ["b", "c"]


async def test_after_a_prune_the_log_is_still_only_added_to(
    store: Store, clock: Clock, tmp_path: Path
) -> None:
    def triggers() -> list[object]:
        with closing(sqlite3.connect(tmp_path / "relay.db")) as connection:
            query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name"
            return connection.execute(query).fetchall()

    before = triggers()
    assert len(before) == 2
    await add(store, clock, "a", "b")
    assert await store.audit.prune(1001.0) == 1
    assert triggers() == before
    with pytest.raises(sqlite3.IntegrityError, match="only added to"):
        by_hand(tmp_path, "DELETE FROM audit")


async def test_a_broken_log_is_not_pruned(store: Store, clock: Clock, tmp_path: Path) -> None:
    await add(store, clock, "a", "b", "c")
    by_hand(tmp_path, "DROP TRIGGER audit_no_update", "UPDATE audit SET at = 0 WHERE sequence = 1")
    with pytest.raises(AuditBroken, match=r"Record 1 .*Nothing was pruned"):
        await store.audit.prune(9999.0)
    assert len(await entries(store)) == 3
    assert issubclass(AuditBroken, StoreError)


async def test_a_prune_that_fails_leaves_everything(store: Store, clock: Clock, tmp_path: Path) -> None:
    await add(store, clock, "a", "b", "c")
    by_hand(
        tmp_path,
        "CREATE TRIGGER full BEFORE DELETE ON audit WHEN OLD.sequence = 2 "
        "BEGIN SELECT RAISE(ABORT, 'disk is full'); END",
    )
    with pytest.raises(SQLAlchemyError):
        await store.audit.prune(9999.0)
    assert len(await entries(store)) == 3
    by_hand(tmp_path, "DROP TRIGGER full")
    with pytest.raises(sqlite3.IntegrityError, match="only added to"):
        by_hand(tmp_path, "DELETE FROM audit")
