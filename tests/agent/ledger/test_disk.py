"""What the writer does to the disk, on a disk that has no room."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock_agent.ledger import disk as disks
from penstock_agent.ledger.disk import Disk, Locked


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file of this process grows further; a write stops at the limit, as at the end of a disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "ledger")
    yield made
    made.close()


def test_one_process_writes_a_ledger(tmp_path: Path, disk: Disk) -> None:
    with pytest.raises(Locked):
        Disk(tmp_path / "ledger")


def test_nobody_else_reads_it(disk: Disk) -> None:
    disk.begin(1, b"first\n")
    disk.hold_reserve()
    assert disk.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in disk.folder.iterdir()} == {0o600}


def test_a_record_that_has_no_room_leaves_nothing_of_itself(disk: Disk) -> None:
    disk.begin(1, b"first\n")
    with files_of_at_most(10), pytest.raises(OSError, match=r"large|space"):
        disk.append(b"second\n")
    assert (disk.folder / "00000001.jsonl").read_bytes() == b"first\n"
    disk.append(b"third\n")
    assert (disk.folder / "00000001.jsonl").read_bytes() == b"first\nthird\n"
    assert disk.size == 12


def test_what_could_not_be_taken_back_at_once_is_before_the_next_record(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.begin(1, b"first\n")
    with monkeypatch.context() as patched, files_of_at_most(10):

        def fails(*args: object) -> None:
            raise OSError(5, "Input/output error")

        patched.setattr(os, "ftruncate", fails)
        for _ in range(2):
            with pytest.raises(OSError, match=r"space|Input/output"):
                disk.append(b"second\n")
    disk.append(b"third\n")
    assert (disk.folder / "00000001.jsonl").read_bytes() == b"first\nthird\n"


def test_a_segment_that_cannot_be_begun_is_not_there_and_the_old_one_goes_on(disk: Disk) -> None:
    disk.begin(1, b"a\n")
    with files_of_at_most(3), pytest.raises(OSError, match=r"large|space"):
        disk.begin(2, b"a long line\n")
    disk.append(b"b\n")
    assert [path.name for path in disk.folder.iterdir()] == ["00000001.jsonl"]
    assert (disk.folder / "00000001.jsonl").read_bytes() == b"a\nb\n"


def test_a_reserve_is_space_that_can_be_given_up_once(disk: Disk) -> None:
    disk.hold_reserve()
    assert (disk.folder / disks.RESERVE).stat().st_blocks * 512 >= disks.RESERVE_BYTES
    assert disk.give_reserve()
    assert not disk.give_reserve()


def test_a_reserve_for_which_there_is_no_space_is_not_held(disk: Disk) -> None:
    with files_of_at_most(1 << 20), pytest.raises(OSError, match=r"large|space"):
        disk.hold_reserve()
    assert not disk.give_reserve()


def test_syncing_closes_the_segments_that_were_left(disk: Disk) -> None:
    before = len(os.listdir("/proc/self/fd"))
    disk.begin(1, b"a\n")
    disk.begin(2, b"b\n")
    disk.begin(3, b"c\n")
    disk.to_sync()()
    assert len(os.listdir("/proc/self/fd")) == before + 1


def test_without_a_segment_nothing_can_be_appended(disk: Disk) -> None:
    with pytest.raises(OSError, match="space"):
        disk.append(b"a\n")
    disk.begin(1, b"a\n")
    disk.abandon()
    with pytest.raises(OSError, match="space"):
        disk.append(b"a\n")
    assert not disk.is_open
