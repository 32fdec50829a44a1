"""``on_event``: a program of the site that is told, whatever it does with that."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from penstock_agent import hooks
from penstock_agent.hooks import Hooks

WAIT = 30


def program(folder: Path, text: str) -> tuple[str, ...]:
    path = folder / "hook.py"
    path.write_text(text)
    return sys.executable, str(path), str(folder)


@asynccontextmanager
async def running(command: tuple[str, ...], patience_s: float = hooks.PATIENCE_S) -> AsyncIterator[Hooks]:
    made = Hooks(command, patience_s)
    async with asyncio.timeout(WAIT), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(made.run())
        try:
            yield made
        finally:
            task.cancel()


async def there(path: Path) -> str:
    """The file, once it is there whole."""
    while not path.exists():
        await asyncio.sleep(0.01)
    return path.read_text()


READS = """
import json, os, sys
folder = sys.argv[1]
data = {"event": json.load(sys.stdin), "env": dict(os.environ), "cwd": os.getcwd()}
with open(folder + "/part", "w") as file:
    json.dump(data, file)
os.rename(folder + "/part", folder + "/told")
"""


async def test_a_program_reads_the_event_to_its_end_in_a_clean_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "of the agent")
    async with running(program(tmp_path, READS)) as made:
        made.tell("withheld", {"server": "files", "count": 2})
        told = json.loads(await there(tmp_path / "told"))
    assert told["event"] == {"event": "withheld", "server": "files", "count": 2}
    assert set(told["env"]) - {"LC_CTYPE"} == {"PATH", "LANG"}
    assert told["cwd"] == "/"


async def test_one_that_hangs_is_ended_and_the_next_event_is_told(tmp_path: Path) -> None:
    text = "import os, sys, time\n" + READS.replace(
        "import json, os, sys", "import json\nif not os.path.exists(sys.argv[1] + '/first'):\n"
        "    open(sys.argv[1] + '/first', 'w').write(str(os.getpid()))\n    time.sleep(1000)"
    )  # fmt: skip
    async with running(program(tmp_path, text), patience_s=0.2) as made:
        made.tell("one", {})
        pid = int(await there(tmp_path / "first") or "0")
        made.tell("two", {})
        assert json.loads(await there(tmp_path / "told"))["event"] == {"event": "two"}
        while pid and os.path.exists(f"/proc/{pid}"):
            await asyncio.sleep(0.01)


async def test_a_program_that_is_not_there_or_fails_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(("/no/such/program",)) as made:
        made.tell("one", {})
        await asyncio.sleep(0)
        made.command = program(tmp_path, READS + "\nsys.exit(3)\n")
        made.tell("two", {})
        assert json.loads(await there(tmp_path / "told"))["event"]["event"] in ("one", "two")


async def test_no_more_wait_than_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Hooks(("/bin/true",))
    for number in range(hooks.MOST_WAITING + 5):
        made.tell("withheld", {"number": number})
    made.tell("huge", {"text": "x" * hooks.MAX_BYTES})
    assert made._events.qsize() == hooks.MOST_WAITING
    nothing = Hooks(())
    nothing.tell("withheld", {})
    assert nothing._events.qsize() == 0
