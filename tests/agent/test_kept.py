from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from penstock_agent import files, kept
from penstock_agent.gate.expose import Item
from penstock_agent.gate.policy.books import Books, Charge, Over
from penstock_agent.gate.policy.rules import Budget
from penstock_agent.gate.policy.taint import Mark
from penstock_agent.problem import Problem

NOON = 1_795_867_200.0
ONE = Charge("files", "r", Item.TOOL, "read", Budget(calls_per_day=1))


def call(books: Books) -> bool:
    return not isinstance(books.take(("i", "alice"), [ONE], NOON, NOON, runs=True), Over)


def test_what_was_used_is_found_again(tmp_path: Path) -> None:
    books = kept.spent(tmp_path)
    kept.SPENT.save(tmp_path, books, lambda: NOON)
    assert not (tmp_path / kept.SPENT.name).exists(), "nothing has changed"
    assert call(books)
    kept.SPENT.save(tmp_path, books, lambda: NOON)
    assert (tmp_path / kept.SPENT.name).stat().st_mode & 0o777 == 0o600
    assert not call(kept.spent(tmp_path))


async def test_it_is_kept_every_few_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "EVERY_S", 0.0)
    written = asyncio.Event()
    write = files.write_atomic

    def noticed(path: Path, data: bytes, mode: int) -> None:
        write(path, data, mode)
        loop.call_soon_threadsafe(written.set)

    monkeypatch.setattr(kept, "write_atomic", noticed)
    loop, books = asyncio.get_running_loop(), Books()
    async with asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(kept.SPENT.keep(tmp_path, books, lambda: NOON))
        call(books)
        await written.wait()
        keeping.cancel()
    assert not call(kept.spent(tmp_path))


def test_who_has_read_something_sensitive_is_found_again(tmp_path: Path) -> None:
    marks = kept.tainted(tmp_path)
    assert marks.set(Mark(("i", "alice"), NOON + 60, "claude", "mail"), NOON)
    kept.TAINTED.save(tmp_path, marks, lambda: NOON)
    again = kept.tainted(tmp_path)
    assert again.of(("i", "alice"), NOON + 59) is not None
    assert (again.of(("i", "alice"), NOON + 60), again.of(("i", "bob"), NOON)) == (None, None)
    (tmp_path / kept.TAINTED.name).write_bytes(b"[[")
    with pytest.raises(Problem, match=r"something sensitive was read cannot be read .* to forget it"):
        kept.tainted(tmp_path)


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff"])
def test_a_file_that_cannot_be_read_stops_the_agent_rather_than_begin_the_day_anew(
    tmp_path: Path, data: bytes
) -> None:
    (tmp_path / kept.SPENT.name).write_bytes(data)
    with pytest.raises(Problem, match="Remove the file"):
        kept.spent(tmp_path)


def test_a_folder_that_takes_nothing_is_told_of_and_tried_again(tmp_path: Path) -> None:
    books = Books()
    call(books)
    kept.SPENT.save(tmp_path / "missing", books, lambda: NOON)
    assert books.changed
    kept.SPENT.save(tmp_path, books, lambda: NOON)
    assert not books.changed
