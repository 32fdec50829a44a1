"""Ledgers for tests: written in a folder, and read as the plain lines that they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from penstock.names import AgentId
from penstock.principal import Principal
from penstock_agent.ledger.entries import Decision, Sent, Verdict
from penstock_agent.ledger.opening import open_ledger
from penstock_agent.ledger.settings import LedgerSettings
from penstock_agent.ledger.writer import SEGMENT_BYTES, Writer, folder_of

AGENT = AgentId("acme", "one")
ALICE = Principal(
    "https://idp.example", "alice", name="Alice Example", email="alice@example.com", client="c1"
)
BOB = Principal("https://idp.example", "bob", client="c2")


@dataclass
class Clock:
    """Time, as the test says."""

    now: float = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


def decision(number: int = 0, who: Principal = ALICE, verdict: Verdict = Verdict.ALLOWED) -> Decision:
    return Decision(f"k-{number}", "files", who, "tools/call", verdict, "expose", "7", "tool:read_file")


def sent(number: int = 0, data: bytes = b"hello", offset: int = 0, who: Principal = ALICE) -> Sent:
    return Sent(f"k-{number}", "files", who, offset, len(data), sha256(data).hexdigest())


@contextmanager
def ledger(
    state: Path,
    settings: LedgerSettings = LedgerSettings(),  # noqa: B008 - frozen
    *,
    clock: Clock | None = None,
    segment_bytes: int = SEGMENT_BYTES,
    agent: AgentId = AGENT,
) -> Iterator[Writer]:
    writer = open_ledger(state, agent, settings, clock=clock or Clock(), segment_bytes=segment_bytes)
    try:
        yield writer
    finally:
        writer.close()


def files(state: Path) -> list[Path]:
    return sorted(folder_of(state).glob("*.jsonl"))


def lines(state: Path) -> list[bytes]:
    return [line for path in files(state) for line in path.read_bytes().splitlines(keepends=True)]


def records(state: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines(state)]


def kinds(state: Path) -> list[object]:
    return [record["kind"] for record in records(state)]


def chained(state: Path) -> bool:
    """Whether every record follows from the one before; told here once more, without the writer."""
    before = bytes(32)
    for n, line in enumerate(lines(state), 1):
        body, _, rest = line.rpartition(b',"h":"')
        digest = sha256(before + body)
        if json.loads(line)["n"] != n or rest != digest.hexdigest().encode() + b'"}\n':
            return False
        before = digest.digest()
    return True
