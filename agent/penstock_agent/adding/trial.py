"""Starts a server once, exactly as the agent would, and says step by step how far it came."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

import msgspec

from penstock_agent.adding import causes
from penstock_agent.adding.secretwords import masked
from penstock_agent.catalogue.conversation import Conversation
from penstock_agent.catalogue.offer import CatalogueError
from penstock_agent.children.child import ChildGone, ChildSpec, ChildStartError, ProcessSpec
from penstock_agent.children.confinement import kernel
from penstock_agent.children.confinement.places import which
from penstock_agent.children.confinement.plan import Level
from penstock_agent.children.containers import starting
from penstock_agent.children.environment import BadEnvironment
from penstock_agent.children.pool import Children
from penstock_agent.children.units.spec import UnitSpec, journal
from penstock_agent.endpoint.ports import Child
from penstock_agent.gate.expose import Item
from penstock_agent.problem import printable
from penstock_agent.remote import address
from penstock_agent.remote.remotes import Remotes
from penstock_agent.server_settings import ServerSettings
from penstock_agent.servers import Servers, spec

PATIENCE_S: Final = 60.0
"""From the start to the last list. What fetches itself first may take ``FETCHING_S``."""
FETCHING_S: Final = 180.0
_LAST_WORDS_S: Final = 0.3
"""What a server wrote before its end arrives a little later than the end."""
_MASKED_FROM: Final = 4
"""Shorter values are words such as "1" or "on", which hide nothing and would spoil every line."""


class Step(msgspec.Struct, frozen=True):
    """One thing that was done; ``seconds`` since the beginning."""

    text: str
    done: bool
    seconds: float


class Trial(msgspec.Struct):
    """How far it came."""

    server: str
    works: bool = False
    steps: list[Step] = []
    #: The last lines of its standard error, without what its environment holds.
    said: list[str] = []
    cause: str = ""
    step: str = ""
    name: str = ""
    version: str = ""
    revisions: list[str] = []
    tools: int = 0
    prompts: int = 0
    resources: int = 0
    seconds: float = 0.0


@runtime_checkable
class _Process(Protocol):
    """What only a process has."""

    last_words: Sequence[str]


@runtime_checkable
class _Remote(Protocol):
    """What only a conversation with a server of the network has."""

    problem: str


async def run(
    name: str,
    server: ServerSettings,
    state_dir: Path,
    agent: Mapping[str, str],
    private: Collection[Path] = (),
    *,
    patience_s: float = PATIENCE_S,
) -> Trial:
    """Never raises for what the server does. ``agent`` and ``private`` as for ``servers.spec``."""
    trying = _Trying(name, server, state_dir, agent, private)
    await trying.run(patience_s)
    return trying.trial


class _Trying:
    def __init__(
        self,
        name: str,
        server: ServerSettings,
        state_dir: Path,
        agent: Mapping[str, str],
        private: Collection[Path],
    ) -> None:
        self.trial = Trial(name)
        self._server = server
        self._state_dir = state_dir
        self._agent = agent
        self._private = private
        self._begun = time.monotonic()
        self._status: int | None = None
        words = zip(server.command, masked(server.command), strict=True)
        values = [*map(_content, server.env.values()), *(word for word, mask in words if word != mask)]
        found = {printable(value, 400) for value in values if len(value) >= _MASKED_FROM}
        self._hidden = sorted(found, key=len, reverse=True)

    async def run(self, patience_s: float) -> None:
        why = ""
        try:
            what = spec(self._state_dir, self.trial.server, self._server, self._agent, self._private)
            async with Children(1) as children, Remotes(1) as remotes, asyncio.timeout(patience_s):
                child = await Servers(children, remotes).start(what)
                self._done(self._started(what))
                try:
                    await self._ask(child)
                except (ChildGone, CatalogueError, TimeoutError):
                    await asyncio.sleep(_LAST_WORDS_S)
                    raise
                finally:
                    self._listen(child)
                    await child.stop()
            self.trial.works = True
        except TimeoutError:
            why = f"did not answer within {patience_s:g} s"
        except (ChildStartError, BadEnvironment, ValueError) as error:
            why = printable(str(error), 600)
        except ChildGone as error:
            self._status = error.returncode
            how = "" if error.returncode is None else f" with status {error.returncode}"
            why = (
                f"ended{how} before it had answered"
                if self._server.url is None
                else printable(str(error), 500)
            )
        except CatalogueError as error:
            why = printable(str(error), 500)
        except OSError as error:
            why = f"its folder cannot be made in {self._state_dir}: {error.strerror}"
        self.trial.seconds = self._passed()
        if why:
            self.trial.steps.append(Step(why, False, self._passed()))
            self._explain()

    async def _ask(self, child: Child) -> None:
        conversation = Conversation(self.trial.server, child)
        await conversation.greet()
        trial = self.trial
        trial.name, trial.version = (self._masked(printable(text, 80)) for text in conversation.who)
        trial.revisions = [printable(text, 20) for text in conversation.versions[:10]]
        who = " ".join(filter(None, (trial.name, trial.version))) or "it gives no name"
        self._done(f"greeted: {who}, speaks {', '.join(trial.revisions) or 'no revision that it names'}")
        items = await conversation.lists()
        counts = {kind: sum(item.kind is kind for item in items) for kind in Item}
        trial.tools, trial.prompts, trial.resources = (
            counts[kind] for kind in (Item.TOOL, Item.PROMPT, Item.RESOURCE)
        )
        self._done(f"offers {trial.tools} tools, {trial.prompts} prompts, {trial.resources} resources")

    def _started(self, what: ChildSpec) -> str:
        if isinstance(what, UnitSpec):
            network = what.confinement.words(kernel.look())[1]
            return f"started by systemd at {what.socket} (isolation unit, network {network})"
        if not isinstance(what, ProcessSpec):
            return f"will be asked at {address.show(self._server.url or '')}"
        isolation, network = what.confinement.words(kernel.look())
        if what.container is not None:
            return f"started {what.container.image} (isolation {isolation}, network {network})"
        found = which(what.command[0], what.env.get("PATH", "")) or what.command[0]
        return f"started {found} (isolation {isolation}, network {network})"

    def _listen(self, child: Child) -> None:
        if isinstance(child, _Remote) and child.problem:
            self.trial.said = [printable(child.problem, 500)]
        if isinstance(child, _Process):
            self.trial.said = [self._masked(printable(line, 400)) for line in child.last_words]

    def _masked(self, line: str) -> str:
        """Servers print their environment when something is wrong with it."""
        for value in self._hidden:
            line = line.replace(value, "…")
        return line

    def _explain(self) -> None:
        server = self._server
        if server.url is not None or not any(step.done for step in self.trial.steps):
            return  # what could not be started says why, and the next step, itself
        if server.level is Level.UNIT:
            self.trial.cause = "What it said is in the journal of its unit."
            self.trial.step = f"See: sudo {journal(self.trial.server)}"
            return
        if server.image is not None and (
            why := starting.likely(self.trial.server, self._status, self.trial.said)
        ):
            self.trial.cause, _, self.trial.step = why.partition(". ")
            return
        found = causes.likely(
            self.trial.server,
            server.command,
            [*self.trial.said, self.trial.steps[-1].text if not self.trial.said else ""],
            offline=not server.online,
            exists=os.path.exists,
        )
        if found is not None:
            self.trial.cause, self.trial.step = found.text, found.step

    def _done(self, text: str) -> None:
        self.trial.steps.append(Step(text, True, self._passed()))

    def _passed(self) -> float:
        return round(time.monotonic() - self._begun, 3)


def environment_of(pid: int) -> Mapping[str, str]:
    """That of the running agent, whose PATH its servers get; this process's own where it may not be read."""
    try:
        data = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return os.environ
    pairs = (os.fsdecode(each).partition("=") for each in data.split(b"\0") if each)
    return {name: value for name, _, value in pairs}


def _content(value: str) -> str:
    """Of a variable: what is in the file that it names, where it names one."""
    if value.startswith("file:/"):
        try:
            return Path(value.removeprefix("file:")).read_text(errors="replace")[: 64 << 10].strip()
        except OSError:
            return ""
    return value
