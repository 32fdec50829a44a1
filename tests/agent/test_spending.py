from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from penstock_agent import spending
from penstock_agent.gate.expose import Item
from penstock_agent.gate.policy.books import Books, Charge, Over
from penstock_agent.gate.policy.rules import Budget
from penstock_agent.problem import Problem

NOON = 1_795_867_200.0
ONE = Charge("files", "r", Item.TOOL, "read", Budget(calls_per_day=1))


def call(books: Books) -> bool:
    return not isinstance(books.take(("i", "alice"), [ONE], NOON, NOON, runs=True), Over)


def test_what_was_used_is_found_again(tmp_path: Path) -> None:
    books = spending.load(tmp_path)
    spending.save(tmp_path, books, lambda: NOON)
    assert not (tmp_path / spending.FILE).exists(), "nothing has changed"
    assert call(books)
    spending.save(tmp_path, books, lambda: NOON)
    assert (tmp_path / spending.FILE).stat().st_mode & 0o777 == 0o600
    assert not call(spending.load(tmp_path))


async def test_it_is_kept_every_few_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spending, "EVERY_S", 0.0)
    written = asyncio.Event()
    write = spending._write

    def noticed(folder: Path, books: Books, data: bytes) -> None:
        write(folder, books, data)
        loop.call_soon_threadsafe(written.set)

    monkeypatch.setattr(spending, "_write", noticed)
    loop, books = asyncio.get_running_loop(), Books()
    async with asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(spending.keep(tmp_path, books, lambda: NOON))
        call(books)
        await written.wait()
        keeping.cancel()
    assert not call(spending.load(tmp_path))


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff"])
def test_a_file_that_cannot_be_read_stops_the_agent_rather_than_begin_the_day_anew(
    tmp_path: Path, data: bytes
) -> None:
    (tmp_path / spending.FILE).write_bytes(data)
    with pytest.raises(Problem, match="Remove the file"):
        spending.load(tmp_path)


def test_a_folder_that_takes_nothing_is_told_of_and_tried_again(tmp_path: Path) -> None:
    books = Books()
    call(books)
    spending.save(tmp_path / "missing", books, lambda: NOON)
    assert books.changed
    spending.save(tmp_path, books, lambda: NOON)
    assert not books.changed
