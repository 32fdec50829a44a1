"""Which eras a server speaks: what its answers mean, and how often it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from penstock.envelope import parse_child
from penstock_agent.children import eras
from penstock_agent.children.eras import Era, Eras, EraUnknown, says_modern
from penstock_agent.children.lines import Oversize
from penstock_agent.children.pool import TooManyChildren
from tests.agent.endpoint.talk import FakeChild, FakeChildren, Json, spec

FOUND: Json = {"supportedVersions": ["2026-07-28"], "capabilities": {}}
HELLO: Json = {"protocolVersion": "2025-11-25", "capabilities": {}}


class Scene:
    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.children = FakeChildren()
        self.tasks = tasks
        self.eras = Eras(self.children, tasks.create_task)

    def ask(self, *arguments: str) -> asyncio.Task[Era]:
        return self.tasks.create_task(self.eras.of(spec("files", *arguments)))

    async def says(self, number: int, method: str, answer: Json | int) -> FakeChild:
        """The next process hears this and answers with a result, or an error of this code."""
        child = await self.children.number(number)
        asked = await child.heard(method)
        if isinstance(answer, int):
            error = {"code": answer, "message": "no", "data": {"supported": ["2026-07-28"]}}
            child.say({"jsonrpc": "2.0", "id": asked["id"], "error": error})
        else:
            child.answer(asked, answer)
        return child


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    async with asyncio.TaskGroup() as tasks:
        here = Scene(tasks)
        yield here
    assert all(child.stopped for child in here.children.started)


@pytest.mark.parametrize(
    ("line", "modern"),
    [
        (b'{"result":{"supportedVersions":["2026-07-28"]}}', True),
        (b'{"result":{"supportedVersions":["2099-01-01","2026-07-28"]}}', True),
        (b'{"result":{"supportedVersions":["2025-11-25"]}}', False),
        (b'{"result":{"supportedVersions":"2026-07-28"}}', False),
        (b'{"result":{}}', False),
        (b'{"result":[]}', False),
        (b'{"error":{"code":-32022,"message":"","data":{"supported":["2026-07-28"]}}}', True),
        (b'{"error":{"code":-32022,"message":"","data":{"supported":["2099-01-01"]}}}', False),
        (b'{"error":{"code":-32022,"message":""}}', False),
        (b'{"error":{"code":-32601,"message":"","data":{"supported":["2026-07-28"]}}}', False),
        (b'{"error":{"code":-32602,"message":""}}', False),
    ],
)
def test_what_an_answer_to_discover_means(line: bytes, modern: bool) -> None:
    assert says_modern(parse_child(b'{"jsonrpc":"2.0","id":1,' + line[1:])) is modern


@pytest.mark.parametrize("code", [-32601, -32602, -32600, -32000, 0])
async def test_any_error_is_the_handshake_era(code: int) -> None:
    async with scene() as here:
        asked = here.ask()
        await here.says(1, "server/discover", code)
        assert await asked is Era.HANDSHAKE
        assert len(here.children.started) == 1


@pytest.mark.parametrize(("answer", "era"), [(HELLO, Era.DUAL), (-32022, Era.MODERN), (-32601, Era.MODERN)])
@pytest.mark.parametrize("found", [FOUND, -32022])
async def test_a_modern_server_is_asked_for_the_other_era_by_a_fresh_process(
    found: Json | int, answer: Json | int, era: Era
) -> None:
    async with scene() as here:
        asked = here.ask()
        first = await here.says(1, "server/discover", found)
        await here.says(2, "initialize", answer)
        assert await asked is era
        assert first.stopped


async def test_silence_at_the_other_era_is_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eras, "SILENCE_S", 0.01)
    async with scene() as here:
        asked = here.ask()
        await here.says(1, "server/discover", FOUND)
        assert await asked is Era.MODERN


async def test_junk_on_standard_output_is_no_answer() -> None:
    async with scene() as here:
        asked = here.ask()
        child = await here.children.number(1)
        for line in (b"Welcome!", Oversize(1), b'{"jsonrpc":"2.0","id":"1","result":{}}'):
            child.say(line)
        child.ask(1, "ping")
        await here.says(1, "server/discover", -32601)
        assert await asked is Era.HANDSHAKE


Late = Callable[[FakeChild, Json, Json], None]


def _hello(child: FakeChild, discover: Json, initialize: Json) -> None:
    child.answer(initialize, HELLO)


def _found(child: FakeChild, discover: Json, initialize: Json) -> None:
    child.answer(discover, FOUND)


def _error(child: FakeChild, discover: Json, initialize: Json) -> None:
    child.say({"jsonrpc": "2.0", "id": discover["id"], "error": {"code": -32601, "message": "no"}})


def _refused(child: FakeChild, discover: Json, initialize: Json) -> None:
    error = {"code": -32022, "message": "no", "data": {"supported": ["2026-07-28"]}}
    child.say({"jsonrpc": "2.0", "id": initialize["id"], "error": error})


@pytest.mark.parametrize(
    ("late", "modern"), [(_hello, False), (_found, True), (_error, False), (_refused, True)]
)
async def test_a_silent_process_is_sent_initialize_and_what_it_answers_first_decides(
    late: Late, modern: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eras, "SILENCE_S", 0.01)
    async with scene() as here:
        asked = here.ask()
        child = await here.children.number(1)
        discover = await child.heard("server/discover")
        late(child, discover, await child.heard("initialize"))
        assert (await asked).modern is modern


async def test_a_process_that_ends_at_discover_is_tried_with_initialize() -> None:
    async with scene() as here:
        asked = here.ask()
        (await here.children.number(1)).die()
        await here.says(2, "initialize", HELLO)
        assert await asked is Era.HANDSHAKE


async def test_a_server_that_always_ends_is_of_no_era_and_asked_again() -> None:
    async def die(numbers: range) -> None:
        for number in numbers:
            (await here.children.number(number)).die()

    async with scene() as here:
        for first in (1, 3):
            here.tasks.create_task(die(range(first, first + 2)))
            with pytest.raises(EraUnknown):
                await here.eras.of(spec())
        assert here.eras.known(spec()) is None


async def test_a_server_that_never_says_anything_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eras, "SILENCE_S", 0.01)
    monkeypatch.setattr(eras, "START_S", 0.02)
    async with scene() as here:
        with pytest.raises(EraUnknown):
            await here.eras.of(spec())


async def test_what_keeps_a_process_from_starting_is_told_and_not_kept() -> None:
    async with scene() as here:
        here.children.refusal = TooManyChildren("full")
        with pytest.raises(TooManyChildren):
            await here.eras.of(spec())
        here.children.refusal = None
        asked = here.ask()
        await here.says(1, "server/discover", -32601)
        assert await asked is Era.HANDSHAKE


async def test_those_who_ask_at_once_share_the_question_and_the_first_may_go() -> None:
    async with scene() as here:
        first, second = here.ask(), here.ask()
        await here.children.number(1)
        first.cancel()
        await here.says(1, "server/discover", -32601)
        assert await second is Era.HANDSHAKE
        assert await here.ask() is Era.HANDSHAKE
        assert len(here.children.started) == 1


async def test_another_command_is_asked_anew_and_so_is_what_proved_wrong() -> None:
    async with scene() as here:
        asked = here.ask()
        await here.says(1, "server/discover", -32601)
        assert await asked is Era.HANDSHAKE
        asked = here.ask("--new")
        await here.says(2, "server/discover", FOUND)
        await here.says(3, "initialize", HELLO)
        assert await asked is Era.DUAL
        assert here.eras.known(spec()) is None
        assert here.eras.known(spec("files", "--new")) is Era.DUAL
        here.eras.forget("files")
        assert here.eras.known(spec("files", "--new")) is None


async def test_a_server_of_the_handshake_era_may_have_been_upgraded_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with scene() as here:
        asked = here.ask()
        await here.says(1, "server/discover", -32601)
        await asked
        monkeypatch.setattr(eras, "HANDSHAKE_KEPT_S", -1.0)
        assert here.eras.known(spec()) is None
        assert here.eras.lately(spec()) is Era.HANDSHAKE
        assert here.eras.lately(spec("files", "--new")) is None
