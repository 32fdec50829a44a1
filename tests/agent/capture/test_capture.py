"""What is kept of an exchange, for how long, and what happens when a disk takes nothing."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from penstock_agent.capture import capture, sealed
from penstock_agent.capture.capture import DAY_S, FILE_S, Capture, Captured, files
from penstock_agent.capture.sealed import Piece, private, unseal
from tests.harness.fake_exchange import FakeExchange

PRIVATE, PUBLIC = sealed.generate()
NOON = 1_795_867_200.0


class Site:
    def __init__(self, folder: Path, max_size: int = 1 << 30) -> None:
        self.folder = folder / "capture"
        self.now = NOON
        self.told: list[str] = []
        self.capture = Capture(
            self.folder, PUBLIC, 2, max_size, clock=lambda: self.now, alarm=self.told.append
        )

    def read(self) -> list[tuple[Piece, bytes]]:
        found = []
        for path in files(self.folder):
            with path.open("rb") as file:
                found += list(unseal(file, private(PRIVATE), path.stat().st_size))
        return found

    @property
    def names(self) -> list[str]:
        return [path.name for path in files(self.folder)]


async def test_the_request_and_each_piece_of_the_answer_are_kept(tmp_path: Path) -> None:
    site = Site(tmp_path)
    inner = FakeExchange("files", body=b'{"a":1}', key="k-1")
    exchange = Captured(inner, site.capture)
    await exchange.head(200)
    await exchange.write(b"one")
    site.now += 1
    await exchange.write(b"two")
    await exchange.end()
    assert (inner.content, inner.ended) == (b"onetwo", True)
    assert site.read() == [
        (Piece(NOON, "k-1", "in"), b'{"a":1}'),
        (Piece(NOON, "k-1", "out", 0), b"one"),
        (Piece(NOON + 1, "k-1", "out", 3), b"two"),
    ]
    assert site.folder.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in files(site.folder)] == [0o600]
    site.capture.close()


def test_files_are_short_and_small_and_old_ones_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "FILE_BYTES", 1000)
    site = Site(tmp_path)
    site.capture.keep("k", "in", 0, b"x" * 2000)
    site.capture.keep("k", "in", 0, b"y")
    assert len(site.names) == 2
    site.now += FILE_S
    site.capture.keep("k", "in", 0, b"z")
    assert len(site.names) == 3
    assert [data[:1] for _, data in site.read()] in ([b"x", b"y", b"z"], [b"y", b"x", b"z"])
    for path in files(site.folder):
        os.utime(path, (NOON, NOON))
    site.now = NOON + 2 * DAY_S
    site.capture.keep("k", "in", 0, b"new")
    assert [data for _, data in site.read()] == [b"new"]
    site.capture.close()


def test_all_of_them_together_are_no_larger_than_the_site_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "FILE_BYTES", 2000)
    site = Site(tmp_path, max_size=10_000)
    for number in range(50):
        site.now += 1
        site.capture.keep(f"k-{number}", "in", 0, b"x" * 900)
        assert sum(path.stat().st_size for path in files(site.folder)) <= 10_000
    kept = [piece.exchange for piece, _ in site.read()]
    assert kept == [f"k-{number}" for number in range(50 - len(kept), 50)]
    assert len(kept) >= 6
    site.capture.close()


def test_a_disk_that_takes_nothing_is_told_of_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path)
    site.capture.keep("k-1", "in", 0, b"a")
    with monkeypatch.context() as full:
        full.setattr(os, "write", refuse)
        site.capture.keep("k-2", "in", 0, b"b")
        site.now += 5
        site.capture.keep("k-3", "in", 0, b"c")
    assert site.told == ["No space left on device"]
    site.capture.keep("k-4", "in", 0, b"d")
    assert len(site.told) == 1, "it is not tried at every piece"
    site.now += 5
    site.capture.keep("k-5", "in", 0, b"e")
    assert site.told == ["No space left on device", ""]
    assert [piece.exchange for piece, _ in readable(site)] == ["k-1", "k-5"]
    site.capture.close()


def refuse(file: int, data: bytes) -> int:
    raise OSError(28, os.strerror(28))


def readable(site: Site) -> list[tuple[Piece, bytes]]:
    """Without files that have nothing but a name."""
    for path in files(site.folder):
        if not path.stat().st_size:
            path.unlink()
    return sorted(site.read(), key=lambda one: one[0].at)


async def test_what_is_too_old_goes_though_nothing_is_captured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "FILE_S", 0.0)
    site = Site(tmp_path)
    site.capture.keep("k", "in", 0, b"a")
    for path in files(site.folder):
        os.utime(path, (NOON, NOON))
    site.now = NOON + 2 * DAY_S
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tidying = tasks.create_task(site.capture.tidy())
        while site.names:
            await asyncio.sleep(0)
        tidying.cancel()
