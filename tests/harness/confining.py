"""Starts a confined child as the agent would: ``python -m tests.harness.confining``, by whatever user.

On its input, as JSON, what to do: see :class:`Order`. On its output, the answers of the child. A program of
its own because a test runs as root as a rule, and an agent does not.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

from penstock_agent.children.child import Child, ChildGone, ChildStartError
from penstock_agent.children.confinement import kernel
from penstock_agent.children.confinement.plan import Level, decide
from penstock_agent.children.environment import prepare
from penstock_agent.children.keeper import Keeper
from penstock_agent.server_settings import LimitSettings

ROOT: Final = Path(__file__).parents[2]
PRYING: Final = str(Path(__file__).with_name("prying_child.py"))
NOBODY: Final = 65534
ANSWER_S: Final = 60.0

Answer = object
Attempt = Sequence[object]


@dataclass
class Order:
    """One child and what it tries. So many ``others`` run at the same time, and have to answer at the end."""

    attempts: list[Attempt] = field(default_factory=list)
    state: str = ""
    isolation: str | None = "landlock"
    network: str = "none"
    read: list[str] = field(default_factory=list)
    write: list[str] = field(default_factory=list)
    env: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, object] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)
    others: int = 0
    landlock: int = 0
    """Not more of it than this version has; 0: what the kernel has."""


@dataclass(frozen=True)
class User:
    """A user to be, and a folder of theirs that everybody may enter."""

    uid: int
    folder: Path

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def run(self, *attempts: Attempt, **more: object) -> list[Answer]:
        """The answers of a child; the last is "ended: …" in words where it ended, or "not started: …"."""
        order = Order(list(attempts), str(self.state), **more)  # type: ignore[arg-type]  # of a test
        other = self.uid != os.geteuid()
        path = [str(ROOT / name) for name in ("core", "agent", ".")] + [each for each in sys.path if each]
        done = subprocess.run(
            [interpreter(self.uid), "-m", "tests.harness.confining"],
            input=json.dumps(asdict(order)),
            capture_output=True,
            text=True,
            timeout=100,
            cwd=ROOT,
            env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(path), "PYTHONDONTWRITEBYTECODE": "1"},
            user=self.uid if other else None,
            group=self.uid if other else None,
            extra_groups=[] if other else None,
        )
        assert done.returncode == 0, done.stderr
        answers = json.loads(done.stdout)
        assert isinstance(answers, list)
        return answers

    def give(self, path: Path, text: str = "secret", mode: int = 0o600) -> Path:
        """A file of this user."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        each = path
        while each != self.folder:
            os.chown(each, self.uid, -1)
            each = each.parent
        return path


def interpreter(uid: int) -> str:
    """A Python that this user may run, with our version; empty without one."""
    if uid == os.geteuid():
        return sys.executable
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        try:
            done = subprocess.run([python, "-c", "pass"], user=uid, group=uid, extra_groups=[], cwd="/")
        except OSError:
            continue
        if done.returncode == 0:
            return python
    return ""


@contextmanager
def user(uid: int) -> Iterator[User]:
    """A user with a folder, which is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="penstock-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        made = User(uid, folder)
        made.state.mkdir(mode=0o700)
        for each in (folder, made.state):
            os.chown(each, uid, -1)
        yield made


async def _carry_out(order: Order) -> list[Answer]:
    state = Path(order.state)
    if order.landlock:
        older = replace(kernel.look(), landlock=order.landlock)
        kernel.look = lambda: older  # type: ignore[assignment]  # this process is here for one order
    confinement = decide(
        None if order.isolation is None else Level(order.isolation),
        kernel.look(),
        network=order.network == "host",
        read=[Path(path) for path in order.read],
        write=[Path(path) for path in order.write],
        hidden=[state],
        limits=LimitSettings.model_validate(order.limits).limits(),
    )
    command = tuple(order.command) or (sys.executable, "-I", "-S", PRYING)
    keeper = await Keeper.start()
    answers: list[Answer] = []
    others: list[Child] = []
    try:
        for number in range(order.others):
            spec = prepare(state, f"other-{number}", command, {}, {}, confinement)
            others.append(await Child.start(spec, keeper))
        child = await Child.start(prepare(state, "files", command, order.env, {}, confinement), keeper)
        try:
            for attempt in order.attempts:
                answers.append(await _ask(child, attempt))
        except ChildGone as gone:
            answers.append(f"ended: {gone}")
        for other in others:
            answers.append(await _ask(other, ["pair"]))
        if order.others:
            others.append(await Child.start(prepare(state, "late", command, {}, {}, confinement), keeper))
            answers.append(await _ask(others[-1], ["run", "/bin/true"]))
        await child.stop(0.2)
        for other in others:
            await other.stop(0.2)
    except ChildStartError as error:
        answers.append(f"not started: {error}")
    finally:
        await keeper.close()
    return answers


async def _ask(child: Child, attempt: Attempt) -> Answer:
    async with asyncio.timeout(ANSWER_S):
        await child.send(json.dumps(attempt).encode())
        line = await child.receive()
    assert isinstance(line, bytes)
    return json.loads(line)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_carry_out(Order(**json.loads(sys.stdin.read()))))))
