"""One child: a process of its own group and session, its lines in, its lines out, and its end in words."""

import asyncio
import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from penstock import log
from penstock_agent.children.confinement import kernel, plan
from penstock_agent.children.confinement.plan import CannotConfine, Confinement
from penstock_agent.children.containers import starting
from penstock_agent.children.containers.run import Container
from penstock_agent.children.exits import ExitWatch
from penstock_agent.children.keeper import Keeper, KeeperError
from penstock_agent.children.launch import ReportReader, explain, instructions, launch
from penstock_agent.children.lines import Oversize
from penstock_agent.children.pipes import LineReader, LineWriter, StderrReader
from penstock_agent.children.references import BadReference, resolve

START_TIMEOUT_S: Final = 10.0
"""How long a child may take to become its command (not: to answer)."""

STOP_GRACE_S: Final = 2.0
"""How long a child is given to end by itself, once after its input closed and once more after SIGTERM."""

LAST_WORDS_S: Final = 0.5
"""How long the end of a child is waited for when its input breaks; after that, it lives and does not read."""

LAST_WORDS: Final = 12
"""Lines of its standard error that are kept, for whoever asks why it ended."""

KILL_WAIT_S: Final = 5.0
"""How long a killed child is waited for; only one stuck in the kernel takes longer."""

_log = log.get("penstock_agent.children")


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What is started for a server: a process, or a conversation over HTTP. Each kind has its own class."""

    name: str

    @property
    def is_process(self) -> bool:
        """Whether what is started takes places among the agent's processes."""
        return True

    def patient(self) -> "ChildSpec":
        """The same for somebody who would rather wait than do without a part of it."""
        return self


@dataclass(frozen=True, slots=True)
class ProcessSpec(ChildSpec):
    """What to run: see ``environment.prepare``.

    ``env`` is the whole environment, with secrets named by where they lie (see ``references``); ``folder`` is
    where the child starts. Command and environment may hold secrets and are not in the repr.

    With a ``container``, ``command`` is what its image is given, ``env`` only what the server declares, and
    ``folder`` is its home in there.
    """

    command: tuple[str, ...] = field(repr=False)
    env: Mapping[str, str] = field(repr=False)
    folder: Path
    confinement: Confinement = field(default_factory=Confinement, repr=False)
    container: Container | None = None

    def problem(self) -> str:
        """Why no process can be given this, in words; empty when it can."""
        if self.container is None and (not self.command or not self.command[0]):
            return "its command is empty. Name a program in command."
        for text in (*self.command, *self.env.keys(), *self.env.values(), str(self.folder)):
            try:
                zero = 0 in os.fsencode(text)
            except UnicodeEncodeError:
                return "its command or environment contains half a character (a lone surrogate). Remove it."
            if zero:
                return "its command or environment contains a zero byte. Remove it."
        return ""


class ChildStartError(Exception):
    """The command of a server cannot be run; the text names the cause and the next step.

    It may name paths and addresses of the site. ``told``: what callers may read instead, where more can be
    said than that the server could not be started.
    """

    def __init__(self, text: str, *, told: str = "") -> None:
        super().__init__(text)
        self.told = told


class ChildGone(Exception):
    """The child has ended or no longer reads; the text says how, and may be shown to a caller.

    ``returncode``: exit status, minus the number of the signal that killed it, or None.
    """

    def __init__(self, text: str, returncode: int | None) -> None:
        super().__init__(text)
        self.returncode = returncode


class Child:
    """A running child.

    When it has ended, its group is killed, its process reaped and every descriptor closed, whether or not
    anybody waits for that.
    """

    def __init__(self, spec: ProcessSpec, keeper: Keeper) -> None:
        """Starts the launcher only, which raises OSError. Use ``Child.start``."""
        loop = asyncio.get_running_loop()
        self.spec = spec
        self.started_at = time.time()
        """Wall clock, seconds since 1970."""
        self.last_words: deque[str] = deque(maxlen=LAST_WORDS)
        """The newest lines of its standard error."""
        self._loop = loop
        self._keeper = keeper
        self._gone = asyncio.Event()
        self._callbacks: list[Callable[[Child], None]] = []
        self._stopping = False
        self._end_timer: asyncio.TimerHandle | None = None
        launched = launch()
        self._process = launched.process
        try:
            self._stdin = LineWriter(loop, launched.stdin)
            self._stdout = LineReader(loop, launched.stdout, self._output_ended)
            self._stderr = StderrReader(loop, launched.stderr, self._log_stderr)
            self._report = ReportReader(loop, launched.report)
            self._watch = ExitWatch(loop, launched.process.pid, self._exited)
        except OSError:
            launched.discard(loop)
            raise

    @classmethod
    async def start(cls, spec: ProcessSpec, keeper: Keeper) -> "Child":
        """Run ``spec.command``; return once it runs.

        Raises ChildStartError. Nothing of the child is left then, nor when this call is cancelled.
        """
        if problem := spec.problem():
            raise ChildStartError(f"server {spec.name}: {problem}")
        try:
            child = cls(spec, keeper)
        except OSError as error:
            raise ChildStartError(
                f"server {spec.name}: no process could be started: {error.strerror}. Free memory, processes "
                "or descriptors, or lower max_children."
            ) from None
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await keeper.add(child.pid)
                child._stdin.put(await asyncio.to_thread(_told, spec))
                failure = await child._report.get()
                keeper.know(child.pid)
            program = spec.command if spec.container is None else ("podman",)
            why = explain(failure, program, spec.env, spec.folder) if failure else ""
        except TimeoutError:
            why = (
                f"its command did not run within {START_TIMEOUT_S:g} s. Check that the disk with the "
                "command can be read, and the load of the machine."
            )
        except (KeeperError, BadReference, CannotConfine) as error:
            why = str(error)
        except BaseException:  # cancelled, above all
            await child._end()
            raise
        if why:
            await child._end()
            raise ChildStartError(f"server {spec.name}: {why}")
        return child

    @property
    def pid(self) -> int:
        """Process id, and id of the child's process group and session."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit status, minus the number of the signal that killed it, or None while it runs."""
        return self._process.returncode

    @property
    def stopping(self) -> bool:
        """True from the moment ``stop`` was called: its end is then no crash."""
        return self._stopping

    @property
    def hint(self) -> dict[str, str]:
        """For the log: why it probably ended by itself, where that can be said."""
        if self._stopping:
            return {}
        spec = self.spec
        if spec.container is not None:
            cause = starting.likely(spec.name, self.returncode, self.last_words)
        else:
            cause = plan.likely(spec.confinement.network, spec.command)
        return {"hint": cause} if cause and self.returncode else {}

    def when_gone(self, callback: Callable[["Child"], None]) -> None:
        """Call ``callback`` once when the child has ended; at once if it has."""
        if self._gone.is_set():
            callback(self)
        else:
            self._callbacks.append(callback)

    async def send(self, line: bytes) -> None:
        """Give the child one line; returns when it is accepted, which may be before the child has read it.

        Waits while more than INPUT_WAITING_MAX bytes wait for the child. Cancelled before it is accepted,
        nothing is sent. Raises ChildGone, and ValueError for a line with a line break in it.
        """
        if b"\n" in line or b"\r" in line:
            raise ValueError("what is sent to a child is one line; this has a line break in it")
        if self._stopping or not await self._stdin.send(line + b"\n"):
            # A dying child's pipes break a moment before its end is known, and only that says how it ended.
            await self._ended_within(LAST_WORDS_S)
            raise self._gone_error()

    async def receive(self) -> bytes | Oversize:
        """The next line that the child wrote. One receiver at a time.

        Raises ChildGone once it has ended and every whole line has been delivered; one that it did not end is
        lost.
        """
        line = await self._stdout.get()
        if line is None:
            raise self._gone_error()
        return line

    async def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """End the child: close its input, wait, SIGTERM, wait, SIGKILL to its group.

        Each wait takes up to ``grace_s`` seconds. Returns when it has ended. What it writes meanwhile is
        dropped. Idempotent; cancelling kills at once.
        """
        if self._stopping:
            await self._gone.wait()
            return
        self._stopping = True
        self._stdin.close()
        self._stdout.drop()
        try:
            if not await self._ended_within(grace_s):
                self._signal(signal.SIGTERM)
                await self._ended_within(grace_s)
        finally:
            self._signal(signal.SIGKILL)
        await self._end()

    async def _end(self) -> None:
        """Kill the group and see it gone."""
        self._stopping = True
        self._signal(signal.SIGKILL)
        if not await self._ended_within(KILL_WAIT_S):
            _log.error("child_stuck", server=self.spec.name, pid=self.pid, waited_s=KILL_WAIT_S)

    async def _ended_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._gone.wait()
        return self._gone.is_set()

    def _signal(self, number: signal.Signals) -> None:
        # Not after the leader is reaped: the number may then belong to somebody else.
        if self._process.returncode is None:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, number)

    def _output_ended(self) -> None:
        """Without output it is of no use; a moment to end by itself lets its status be its own."""
        self._end_timer = self._loop.call_later(STOP_GRACE_S, self._signal, signal.SIGKILL)

    def _exited(self) -> None:
        if self._end_timer is not None:
            self._end_timer.cancel()
        # The leader is not reaped yet and so holds its number: what is left of the group can be named.
        self._signal(signal.SIGKILL)
        self._keeper.remove(self._process.pid)
        self._process.poll()
        self._stdin.close()
        self._stdout.finish()
        self._stderr.finish()
        self._report.close()
        self._gone.set()
        for callback in self._callbacks:
            callback(self)
        self._callbacks.clear()

    def _gone_error(self) -> ChildGone:
        name, status = self.spec.name, self._process.returncode
        if status is None and not self._stopping:
            return ChildGone(f"server {name} no longer reads its input", None)
        if self._stopping:
            return ChildGone(f"server {name} was stopped by the agent", status)
        return ChildGone(f"server {name} {_how(status)}; its last words are in the agent's log", status)

    def _log_stderr(self, line: str) -> None:
        self.last_words.append(line)
        _log.info("child_stderr", server=self.spec.name, pid=self._process.pid, line=line)


def _told(spec: ProcessSpec) -> bytes:
    """The launcher's instructions. Reads from the disk, which may be slow: not for the loop's thread."""
    env = resolve(spec.env, os.environ)
    if spec.container is not None:
        command, env, steps = starting.told(
            spec.container,
            spec.confinement,
            kernel.look(),
            server=spec.name,
            command=spec.command,
            declared=spec.env,
            env=env,
            folder=spec.folder,
            agent=os.environ,
        )
        return instructions(command, env, Path("/"), steps)
    steps = plan.steps(spec.confinement, kernel.look(), spec.command, env, spec.folder)
    return instructions(spec.command, env, spec.folder, steps)


def _how(status: int | None) -> str:
    if status is None or status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
