"""A process that owns children like the agent does and comes to a sudden end.

``python little_agent.py WHEN FOLDER``. WHEN is ``running``: it says the ids of its keeper and children and
waits to be killed. Any other WHEN is the moment of a start at which it kills itself with SIGKILL, after
saying the id of the process that was being started.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from penstock_agent.children import child as child_module
from penstock_agent.children.child import Child, ProcessSpec
from penstock_agent.children.environment import clean_environment
from penstock_agent.children.keeper import Keeper
from penstock_agent.children.pipes import LineWriter

EVIL = str(Path(__file__).parents[2] / "harness" / "evil_child.py")


def say(value: object) -> None:
    os.write(1, json.dumps(value).encode() + b"\n")


def end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Doomed(Keeper):
    """Ends the agent right before, or right after, the keeper knows the group."""

    when = ""

    async def add(self, group: int) -> None:
        say([group])
        if self.when == "before_the_keeper_knows":
            end()
        await super().add(group)
        if self.when == "before_the_child_is_told":
            end()


def put_then_end(writer: LineWriter, data: bytes) -> bool:
    put(writer, data)
    end()
    return True


put = LineWriter.put


async def main(when: str, folder: Path) -> None:
    env = clean_environment(folder, {}, {})
    evil = (sys.executable, "-I", "-S", EVIL)
    if when != "running":
        Doomed.when = when
        if when == "when_the_child_is_told":
            setattr(LineWriter, "put", put_then_end)  # noqa: B010  # mypy refuses the plain form
        touch = "open('ran', 'w').close(); import time; time.sleep(3600)"
        spec = ProcessSpec("doomed", (sys.executable, "-I", "-S", "-c", touch), env, folder)
        await child_module.Child.start(spec, await Doomed.start())
        raise AssertionError("still alive")
    keeper = await Keeper.start()
    children = [
        await Child.start(ProcessSpec(mode, (*evil, mode), env, folder), keeper)
        for mode in ("family", "stubborn", "family")
    ]
    pids: list[int] = []
    for child in children:
        line = await child.receive()
        assert isinstance(line, bytes)
        pids += [child.pid] if line == b"ready" else json.loads(line)
    say([keeper.pid, *pids])
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
