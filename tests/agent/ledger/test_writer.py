"""The ledger as it is written, on disks that work and on disks that do not."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from contextlib import suppress
from pathlib import Path

import pytest

from penstock.ledgerhead import verify
from penstock_agent.ledger import disk as disks
from penstock_agent.ledger import writer as writers
from penstock_agent.ledger.disk import Disk
from penstock_agent.ledger.entries import CannotRecord, Event
from penstock_agent.ledger.settings import LedgerSettings
from penstock_agent.ledger.writer import Writer
from tests.agent.ledger.book import ALICE, BOB, Clock, chained, decision, files, kinds, ledger, records, sent

BOTH_LOOPS = True
DAY = 86_400.0


class Full:
    """The disk, without room for anything but what the reserve had held."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: int = errno.ENOSPC) -> None:
        self.room = 0
        self._code = code
        self._write, self._give = disks._write, Disk.give_reserve
        self._full = True
        monkeypatch.setattr(disks, "_write", self.write)
        monkeypatch.setattr(Disk, "give_reserve", lambda disk: self.give(disk))
        monkeypatch.setattr(Disk, "hold_reserve", lambda disk: self.hold(disk))

    def write(self, file: int, line: bytes) -> None:
        if self._full and self.room < len(line):
            raise OSError(self._code, os.strerror(self._code))
        self.room -= len(line)
        self._write(file, line)

    def give(self, disk: Disk) -> bool:
        given = self._give(disk)
        self.room += 2000 * given
        return given

    def hold(self, disk: Disk) -> None:
        if self._full:
            raise OSError(self._code, os.strerror(self._code))
        (disk.folder / disks.RESERVE).touch()

    def empty(self) -> None:
        self._full = False


def failing_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(file: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", fails)


def until_there_is_no_room(writer: Writer) -> None:
    with suppress(CannotRecord):
        for number in range(99):
            writer.record(sent(number))
        pytest.fail("there is room without end")


async def later(writer: Writer, clock: Clock, seconds: float) -> None:
    clock.now += seconds
    await writer.tick()


# -- what is written --------------------------------------------------------------------------------


async def test_an_entry_is_in_the_file_when_record_returns(tmp_path: Path) -> None:
    with ledger(tmp_path) as writer:
        writer.record(decision())
        assert kinds(tmp_path) == ["segment", "who", "decision"]
        writer.record(sent())
        assert kinds(tmp_path) == ["segment", "who", "decision", "sent"]
    assert chained(tmp_path)


async def test_a_caller_is_introduced_once(tmp_path: Path) -> None:
    with ledger(tmp_path) as writer:
        for who in (ALICE, BOB, ALICE, BOB):
            writer.record(decision(who=who))
    said = records(tmp_path)
    assert [each["subject"] for each in said if each["kind"] == "who"] == ["alice", "bob"]
    assert [each["who"] for each in said if each["kind"] == "decision"] == [1, 2, 1, 2]


async def test_callers_that_are_too_many_are_introduced_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "MAX_CALLERS", 1)
    with ledger(tmp_path) as writer:
        for who in (ALICE, BOB, ALICE):
            writer.record(decision(who=who))
    assert [each["who"] for each in records(tmp_path) if each["kind"] == "decision"] == [1, 2, 3]


async def test_a_head_is_signed_each_minute_in_which_something_was_written(tmp_path: Path) -> None:
    clock = Clock()
    with ledger(tmp_path, clock=clock) as writer:
        await later(writer, clock, 1)
        writer.record(decision())
        await later(writer, clock, 30)
        assert kinds(tmp_path).count("head") == 1
        await later(writer, clock, 30)
        assert kinds(tmp_path).count("head") == 2
        await later(writer, clock, 60)
        assert kinds(tmp_path).count("head") == 2
    head = [each for each in records(tmp_path) if each["kind"] == "head"][-1]
    assert head["hash"] == records(tmp_path)[int(str(head["of"])) - 1]["h"]


async def test_a_head_is_told_to_the_relay_once_it_is_on_the_disk(tmp_path: Path) -> None:
    with ledger(tmp_path) as writer:
        writer.record(decision())
        writer.sign()
        assert writer.current() is None
        await writer.synced()
        head = writer.current()
        assert head is not None
        assert (head.n, verify(head)) == (3, True)
        assert writer.status().head == 3


async def test_a_clean_stop_ends_with_a_head(tmp_path: Path) -> None:
    with ledger(tmp_path) as writer:
        writer.record(Event("stopped"))
    assert kinds(tmp_path)[-1] == "head"


# -- segments ---------------------------------------------------------------------------------------


async def test_a_segment_that_is_full_is_signed_and_followed_by_another(tmp_path: Path) -> None:
    with ledger(tmp_path, segment_bytes=2000) as writer:
        for number in range(20):
            writer.record(decision(number))
        assert writer.status().segments == len(files(tmp_path)) > 2
    assert chained(tmp_path)
    for number, path in enumerate(files(tmp_path), 1):
        first, *_, last = [json.loads(line) for line in path.read_bytes().splitlines()]
        assert (first["kind"], first["segment"], last["kind"]) == ("segment", number, "head")
        assert sum(line.count(b'"kind":"who"') for line in path.read_bytes().splitlines()) == 1


async def test_what_is_too_old_is_removed_and_the_ledger_says_so_first(tmp_path: Path) -> None:
    clock = Clock()
    with ledger(tmp_path, LedgerSettings(keep_days=10), clock=clock, segment_bytes=1000) as writer:
        for number in range(8):
            writer.record(decision(number))
            clock.now += DAY
        first = records(tmp_path)[0]
        begun = len(files(tmp_path))
        await later(writer, clock, 6 * DAY)
        left = files(tmp_path)
        assert 1 < len(left) < begun
        assert writer.status().segments == len(left)
        retired = [each for each in records(tmp_path) if each["kind"] == "retired"]
        following = json.loads(left[0].read_bytes().splitlines()[0])
        assert first["segment"] == 1
        assert retired[-1]["segments"] == [1, following["segment"] - 1]
        assert retired[-1]["of"] == following["n"] - 1
        assert retired[-1]["hash"] == following["previous"]


async def test_a_segment_that_cannot_be_begun_leaves_the_old_one_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ledger(tmp_path, segment_bytes=1000) as writer:

        def fails(*args: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(Disk, "begin", fails)
            for number in range(8):
                writer.record(decision(number))
        assert len(files(tmp_path)) == 1
        assert writer.refuses is not None
    assert chained(tmp_path)
    assert kinds(tmp_path).count("decision") == 8


# -- a disk that is full ----------------------------------------------------------------------------


async def test_a_full_disk_refuses_what_is_new_and_lets_what_runs_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, told = Clock(), list[str]()
    with ledger(tmp_path, clock=clock) as writer:
        writer.alarm = told.append
        writer.record(decision())
        assert writer.refuses is None
        full = Full(monkeypatch)
        writer.record(sent(1))
        assert writer.refuses is not None
        assert told == ["No space left on device"]
        assert writer.status().problem == "No space left on device"
        until_there_is_no_room(writer)
        assert kinds(tmp_path).count("sent") > 3

        await later(writer, clock, 10)  # there is no space yet
        assert writer.refuses is not None
        full.empty()
        await later(writer, clock, 1)  # not tried at once
        assert writer.refuses is not None
        await later(writer, clock, 9)
        assert writer.refuses is None
        assert told == ["No space left on device", ""]
        writer.record(sent(100))
    assert chained(tmp_path)
    recovered = next(each for each in records(tmp_path) if each.get("what") == "ledger_recovered")
    assert recovered["about"] == {"why": "No space left on device", "seconds": 20}


@pytest.mark.parametrize("code", [errno.EIO, errno.EDQUOT, errno.EROFS, errno.EFBIG])
async def test_every_other_failure_of_a_write_is_treated_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    with ledger(tmp_path) as writer:
        full = Full(monkeypatch, code)
        writer.record(Event("one"))
        assert writer.status().problem == os.strerror(code)
        assert writer.refuses is not None
        full.empty()
    assert chained(tmp_path)


async def test_an_agent_that_starts_on_a_full_disk_refuses_until_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    full = Full(monkeypatch)
    with ledger(tmp_path, clock=clock) as writer:
        assert writer.refuses is not None
        with pytest.raises(CannotRecord):
            writer.record(Event("started"))
        full.empty()
        await later(writer, clock, 6)
        assert writer.refuses is None
        writer.record(decision())
    assert chained(tmp_path)


# -- a disk that does not keep what it took -----------------------------------------------------------


async def test_after_a_failed_sync_nothing_new_begins_and_the_segment_is_never_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    with ledger(tmp_path, clock=clock) as writer:
        await writer.synced()
        with monkeypatch.context() as patched:
            failing_sync(patched)
            writer.record(decision())
            with pytest.raises(CannotRecord):
                await writer.synced()
            assert writer.refuses is not None
            assert [path.name for path in files(tmp_path)] == ["00000001.jsonl", "00000002.jsonl"]
            writer.record(sent())  # what runs may end
            await later(writer, clock, 6)
            assert writer.refuses is not None
            with pytest.raises(CannotRecord):  # that segment failed too
                writer.record(sent())
        await later(writer, clock, 10)
        assert writer.refuses is None
        writer.record(decision())
    assert chained(tmp_path)
    about = next(each for each in records(tmp_path) if each.get("what") == "ledger_recovered")["about"]
    assert isinstance(about, dict)
    assert about["why"] == "fdatasync: Input/output error"
    unsure = [each["kind"] for each in records(tmp_path)][about["unsure_from"] - 1 : about["unsure_to"]]
    assert unsure == ["who", "decision", "segment", "who", "sent", "event"]


async def test_where_bytes_wait_for_the_disk_they_do_not_leave_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ledger(tmp_path, LedgerSettings(sync="always")) as writer:
        assert writer.waits
        writer.record(decision())
        await writer.synced()
        failing_sync(monkeypatch)
        writer.record(sent())
        for _ in range(2):
            with pytest.raises(CannotRecord):
                await writer.synced()
        monkeypatch.undo()


async def test_where_bytes_wait_for_the_disk_many_wait_for_one_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = []
    with ledger(tmp_path, LedgerSettings(sync="always")) as writer, monkeypatch.context() as patched:
        sync = os.fdatasync

        def counted(file: int) -> None:
            syncs.append(file)
            sync(file)

        patched.setattr(os, "fdatasync", counted)
        for number in range(50):
            writer.record(sent(number))
        async with asyncio.TaskGroup() as tasks:
            for _ in range(50):
                tasks.create_task(writer.synced())
        assert len(syncs) <= 2
        assert writer.status().synced == 52


async def test_where_they_do_not_wait_they_are_on_the_disk_soon(tmp_path: Path) -> None:
    with ledger(tmp_path) as writer:
        assert not writer.waits
        writer.record(sent())
        async with asyncio.timeout(30):
            while writer.status().synced < 3:
                await asyncio.sleep(0.01)  # the group commit runs by the clock
