"""The choke point: nothing is handed on before it is in the ledger."""

from __future__ import annotations

import ast
import asyncio
from hashlib import sha256
from pathlib import Path

import pytest

from penstock_agent.exchange import DoneReason, ExchangeGone
from penstock_agent.ledger.entries import CannotRecord, Entry, Opened, Sent, Unsent
from penstock_agent.ledger.recorded import FORM, Recorded
from tests.harness.fake_exchange import ALICE, FakeExchange

AGENT = Path(__file__).parents[3] / "agent/penstock_agent"


class Book:
    """A ledger that says in which order things happen."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.happened: list[str] = []
        self.full = False
        self.disk = asyncio.Event()
        self.disk.set()

    refuses: str | None = None
    waits = True

    def record(self, entry: Entry, /) -> None:
        if self.full:
            raise CannotRecord
        self.entries.append(entry)
        self.happened.append(type(entry).__name__)

    async def synced(self) -> None:
        await self.disk.wait()
        if self.full:
            raise CannotRecord
        self.happened.append("synced")


class Told(FakeExchange):
    """Says when it was given something."""

    book: Book

    async def head(self, status: int, headers: tuple[tuple[str, str], ...] = ()) -> None:
        self.book.happened.append("head leaves")
        await super().head(status, headers)

    async def write(self, data: bytes) -> None:
        self.book.happened.append("data leaves")
        await super().write(data)

    async def end(self) -> None:
        self.book.happened.append("end leaves")
        await super().end()


def made() -> tuple[Recorded, Told, Book]:
    book = Book()
    inner = Told("files")
    inner.book = book
    return Recorded(inner, book), inner, book


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()


async def test_bytes_leave_after_their_entry_is_written_and_safe() -> None:
    exchange, _, book = made()
    await exchange.head(200, (("content-type", "application/json"),))
    await exchange.write(b"hello")
    await exchange.end()
    assert book.happened == ["synced", "head leaves", "Sent", "synced", "data leaves", "synced", "end leaves"]


async def test_entries_say_which_bytes_of_whose_answer() -> None:
    exchange, inner, book = made()
    await exchange.head(200)
    for data in (b"one", b"", b"three"):
        await exchange.write(data)
    key = inner.key
    assert book.entries == [
        Sent(key, "files", ALICE, 0, 3, digest(b"one")),
        Sent(key, "files", ALICE, 3, 0, digest(b"")),
        Sent(key, "files", ALICE, 3, 5, digest(b"three")),
    ]
    assert inner.content == b"onethree"


async def test_an_answer_to_another_exchange_says_so_and_one_to_its_own_does_not() -> None:
    exchange, inner, book = made()
    await exchange.head(200)
    for answers in ("other", inner.key, ""):
        exchange.answers = answers
        await exchange.write(b"x")
    assert [entry.answers for entry in book.entries if isinstance(entry, Sent)] == ["other", "", ""]


async def test_a_head_that_says_more_than_its_form_is_an_entry() -> None:
    exchange, inner, book = made()
    await exchange.head(200, (("content-type", "application/json"), ("mcp-session-id", "s1")))
    said = digest(b"content-type: application/json\nmcp-session-id: s1\n")
    assert book.entries == [Opened(inner.key, "files", ALICE, 200, ["content-type", "mcp-session-id"], said)]
    assert book.happened[0] == "Opened"
    assert inner.status == 200


@pytest.mark.parametrize("full_at", ["record", "sync"])
async def test_what_cannot_be_recorded_does_not_leave_and_the_exchange_breaks_off(full_at: str) -> None:
    exchange, inner, book = made()
    await exchange.head(200)
    await exchange.write(b"one")
    book.full = True
    if full_at == "sync":
        book.record = book.entries.append  # type: ignore[method-assign]
    with pytest.raises(ExchangeGone) as caught:
        await exchange.write(b"two")
    assert caught.value.reason is DoneReason.ORIGIN_LOST
    assert (inner.content, inner.failed) == (b"one", "the ledger cannot be written")
    with pytest.raises(ExchangeGone):
        await exchange.end()
    assert not inner.ended


async def test_what_cannot_be_recorded_does_not_leave_though_nobody_waits_for_the_disk() -> None:
    _, inner, book = made()
    book.waits = False
    exchange = Recorded(inner, book)
    await exchange.head(200)
    book.full = True
    with pytest.raises(ExchangeGone):
        await exchange.write(b"one")
    assert (inner.content, inner.failed) == (b"", "the ledger cannot be written")


async def test_a_writer_that_is_stopped_while_it_waits_for_the_disk_takes_its_entry_back() -> None:
    exchange, inner, book = made()
    await exchange.head(200)
    book.disk.clear()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(exchange.write(b"never"))
        await asyncio.sleep(0)
        task.cancel()
    book.disk.set()
    await exchange.write(b"last words")
    assert book.entries[1:] == [
        Unsent(inner.key, "files", ALICE, 0),
        Sent(inner.key, "files", ALICE, 0, 10, digest(b"last words")),
    ]
    assert inner.content == b"last words"


async def test_everything_else_is_the_exchange_s() -> None:
    exchange, inner, _ = made()
    for name in ("key", "server", "method", "headers", "body", "principal", "purpose", "deadline"):
        assert getattr(exchange, name) == getattr(inner, name)
    exchange.fail("why")
    assert inner.failed == "why"
    inner.leave(DoneReason.CLIENT_GONE)
    assert await exchange.gone() is DoneReason.CLIENT_GONE


# -- there is no way around it ------------------------------------------------------------------------


def sources() -> dict[str, ast.Module]:
    return {str(path.relative_to(AGENT)): ast.parse(path.read_text()) for path in AGENT.rglob("*.py")}


def importers(module: str) -> set[str]:
    """Who imports a module or something of it, not only for types."""
    found = set()
    for name, tree in sources().items():
        guarded = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if id(node) in guarded:
                continue
            named = []
            if isinstance(node, ast.ImportFrom):
                named = [node.module or "", *(f"{node.module}.{each.name}" for each in node.names)]
            elif isinstance(node, ast.Import):
                named = [each.name for each in node.names]
            if module in named:
                found.add(name)
    return found


def test_one_module_hands_bytes_to_the_tunnel() -> None:
    assert importers("penstock.tunnel.agent.Agent") == {"dialer/served.py"}
    assert importers("penstock.tunnel.agent_exchange") == {"dialer/served.py"}


def test_what_it_makes_is_known_to_nobody_but_the_daemon_and_the_dialer() -> None:
    assert importers("penstock_agent.dialer.served.Served") == {"daemon/intake.py"}
    assert importers("penstock_agent.dialer.served.Tunnel") == {"daemon/daemon.py", "dialer/dialer.py"}


def test_the_daemon_gives_the_endpoint_recorded_exchanges_and_nothing_else() -> None:
    tree = sources()["daemon/intake.py"]
    serving = [
        ast.unparse(node.args[0])
        for name, each in sources().items()
        if name.startswith("daemon/")
        for node in ast.walk(each)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "serve"
    ]
    assert serving == ["recorded"]
    made = [
        ast.unparse(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and {"inner", "recorded"} & set(map(ast.unparse, node.targets))
    ]
    # What is captured is what was recorded, on its way out.
    inner = "exchange if self._capture is None else Captured(exchange, self._capture)"
    assert made == [inner, "Recorded(inner, self._ledger)"]
    named = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "exchange"]
    assert len(named) == 4  # these two, and two that say that it failed
    for call in ("head", "write", "end"):
        assert f"exchange.{call}(" not in ast.unparse(tree)


def test_headers_that_are_no_entry_say_nothing_of_the_site() -> None:
    assert {name for name, _ in FORM} == {"content-type", "retry-after"}
