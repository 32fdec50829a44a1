"""A site for the console to look at: a control socket that answers as told, and a ledger; no agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import msgspec

from penstock.names import AgentId
from penstock.principal import Principal
from penstock_agent import control
from penstock_agent.config import Options, load
from penstock_agent.console.access import Door
from penstock_agent.console.app import Console
from penstock_agent.console.facts import Source
from penstock_agent.console.views import Views
from penstock_agent.control import Approval, Approvals, Args, Call, Calls, Pause, Peer, ServerStatus, Status
from penstock_agent.exposing.reviewing import Change, Review
from penstock_agent.gate.pause import Entry, Kind
from penstock_agent.ledger.entries import Decision, LedgerStatus, Sent, Verdict
from penstock_agent.ledger.opening import open_ledger
from penstock_agent.ledger.settings import LedgerSettings
from penstock_agent.problem import Problem

HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)">\u202egnp.exe\x1b[2J' + "W" * 10_000
NOW = 1_790_000_000.0


class ConsoleSite:
    """What the control socket says, and what it was told to do."""

    def __init__(self, folder: Path, text: str = "Alice") -> None:
        """``text`` is all that comes from outside."""
        (folder / "agent.toml").write_text("")
        self.settings = load(Options(folder / "agent.toml", folder))
        self.told: list[tuple[str, dict[str, object]]] = []
        self.refuses = ""
        self.mistake: Problem | None = None
        self.stranger = ""
        """Why nothing at all is answered."""
        self.status = Status(
            "1", 1, "plant", "one", "wss://relay", True, NOW - 60, "https://relay.example",
            children=1, max_children=64, certificate_expires=NOW + 9e6,
            servers=[
                ServerStatus("files", 1, 0, ["*", text[:500]], "landlock", "none"), ServerStatus("mail"),
            ],
            paused=[Entry(Kind.CALLER, text, NOW - 9, 0)],
            withheld={"files": [f"tool:{text}"]},
            ledger=LedgerStatus(7, 1, 2048, 7),
        )  # fmt: skip
        self.calls = Calls([Call("k1", NOW - 5, "running", text, text, text, text, "files", text, 2048)])
        self.asked = Approval(
            "r1", "waiting", text, text, text, text, "files", f"tool:{text}", f'{{"a": "{text}"}}', "d1",
            f"rule {text}", NOW - 5, NOW + 500,
        )  # fmt: skip
        self.review = Review(
            "files",
            "v1",
            NOW - 500,
            changes=[
                Change(
                    f"tool:{text}",
                    "changed",
                    True,
                    "digest-1",
                    NOW - 50,
                    msgspec.json.encode({"name": "a", "description": f"Adds {text}"}).decode(),
                    '{"name": "a", "description": "Adds"}',
                    [f"It looks like {text}"],
                )
            ],
        )
        self._text = text

    def write_ledger(self) -> None:
        """A few calls of somebody."""
        who = Principal("https://idp", self._text, self._text, client=self._text)
        writer = open_ledger(
            self.settings.state_dir, AgentId("plant", "one"), LedgerSettings(), clock=lambda: NOW - 600
        )
        for number in range(5):
            key, verdict = f"k-{number}", Verdict.DENIED if number == 4 else Verdict.ALLOWED
            writer.record(
                Decision(key, "files", who, "tools/call", verdict, self._text, "1", self._text[:2000])
            )
            writer.record(Sent(key, "files", who, 0, 100, sha256(b"").hexdigest()))
        writer.close()

    def _handlers(self) -> dict[str, control.Handler]:
        answers: dict[str, Callable[[], msgspec.Struct]] = {
            "status": lambda: self.status,
            "calls": lambda: self.calls,
            "approvals": lambda: Approvals([self.asked]),
            "review": lambda: self.review,
            "approve": lambda: self.asked,
            "deny": lambda: self.asked,
            "pin": lambda: self.review,
            "pause": lambda: Pause(True, 2),
            "resume": lambda: Pause(True),
        }

        def of(verb: str) -> control.Handler:
            async def handle(peer: Peer, args: Args) -> Args:
                if self.stranger:
                    raise Problem(self.stranger)
                if verb not in ("status", "calls", "approvals"):
                    self.told.append((verb, dict(args)))
                    if self.refuses:
                        raise Problem(self.refuses)
                return msgspec.to_builtins(answers[verb]())  # type: ignore[no-any-return]  # a dict

            return handle

        return {verb: of(verb) for verb in answers}

    @asynccontextmanager
    async def open(self, door: Door | None = None) -> AsyncIterator[Console]:
        """The console, listening, before this site."""
        listening = asyncio.Event()
        path = control.socket_path(self.settings)
        served = Console(
            Views(Source(self.settings, lambda: NOW, self.mistake), lambda: NOW),
            Door() if door is None else door,
        )
        async with asyncio.TaskGroup() as tasks:
            answering = tasks.create_task(control.serve_control(path, self._handlers(), ready=listening.set))
            await listening.wait()
            async with served.listening(0):
                yield served
            answering.cancel()
