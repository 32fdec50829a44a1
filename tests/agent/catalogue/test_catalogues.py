"""What servers offer, as a running agent knows it: asked once, kept a while, and read again when asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from penstock_agent.catalogue import catalogues
from penstock_agent.catalogue.catalogues import Catalogues
from penstock_agent.catalogue.offer import Catalogue, CatalogueError
from penstock_agent.children.child import ChildStartError
from penstock_agent.children.pool import TooManyChildren
from penstock_agent.gate.definitions import Definitions
from penstock_agent.gate.overrides import Override
from tests.agent.endpoint.talk import FakeChild, FakeChildren, spec


class Scene:
    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.children = FakeChildren()
        self.tasks = tasks
        self.known = Catalogues({"files": spec()}, self.children, tasks.create_task)

    def ask(self) -> asyncio.Task[Catalogue]:
        return self.tasks.create_task(self.known.get("files"))

    async def child(self, number: int = 1) -> FakeChild:
        child = await self.children.number(number)
        answer = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}
        child.answer(await child.heard("initialize"), answer)
        await child.heard("notifications/initialized")
        return child

    async def answer(self, child: FakeChild, **effects: bool) -> None:
        tools = [{"name": name, "annotations": {"readOnlyHint": only}} for name, only in effects.items()]
        child.answer(await child.heard("tools/list"), {"tools": tools})


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    async with asyncio.TaskGroup() as tasks:
        yield Scene(tasks)


def names(catalogue: Catalogue) -> list[str]:
    return [offer.name for offer in catalogue.items]


async def test_a_child_is_asked_and_thrown_away() -> None:
    async with scene() as here:
        asked = here.ask()
        child = await here.child()
        await here.answer(child, read=True, drop=False)
        assert names(await asked) == ["read", "drop"]
        assert child.stopped
        assert here.known.marked("files") == {"read"}


async def test_those_who_ask_at_once_share_one_child() -> None:
    async with scene() as here:
        asked = [here.ask() for _ in range(5)]
        await here.answer(await here.child(), read=True)
        assert [names(await one) for one in asked] == [["read"]] * 5
        assert names(await here.known.get("files")) == ["read"]  # a moment later, too
        assert len(here.children.started) == 1


async def test_who_asked_first_may_go() -> None:
    async with scene() as here:
        first, second = here.ask(), here.ask()
        child = await here.child()
        first.cancel()
        await here.answer(child, read=True)
        assert names(await second) == ["read"]


@pytest.mark.parametrize("says", [True, False])
async def test_an_older_catalogue_is_asked_again_or_good_enough(
    says: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogues, "FRESH_S", 0.0)
    monkeypatch.setattr(catalogues, "PATIENCE_S", 60.0 if says else 0.01)
    async with scene() as here:
        asked = here.ask()
        await here.answer(await here.child(), read=True)
        await asked
        again = here.ask()
        child = await here.child(2)
        if says:
            await here.answer(child, read=True, new=True)
            assert names(await again) == ["read", "new"]
        else:
            assert names(await again) == ["read"]
            await here.answer(child, read=True, new=True)  # late, but not for nothing
            async with asyncio.timeout(10):
                while "new" not in here.known.marked("files"):
                    await asyncio.sleep(0)


@pytest.mark.parametrize("error", [ChildStartError("no such program"), TooManyChildren("64 are running")])
async def test_a_server_that_cannot_start_is_said_in_words(error: Exception) -> None:
    async with scene() as here:
        here.children.refusal = error
        with pytest.raises(CatalogueError, match=str(error)):
            await here.known.get("files")
        here.children.refusal = None
        asked = here.ask()  # and asked again, not remembered as broken
        await here.answer(await here.child(), read=True)
        assert names(await asked) == ["read"]


async def test_a_child_that_ends_is_said_in_words() -> None:
    async with scene() as here:
        asked = asyncio.gather(here.known.get("files"), return_exceptions=True)
        (await here.child()).die()
        (error,) = await asked
        assert isinstance(error, CatalogueError)
        assert "ended before" in str(error)


async def test_a_child_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogues, "READ_S", 0.01)
    async with scene() as here:
        with pytest.raises(CatalogueError, match="did not say"):
            await here.known.get("files")
        assert here.children.started[0].stopped


async def test_a_changed_server_is_another_server() -> None:
    async with scene() as here:
        asked = here.ask()
        child = await here.child()
        here.known.reload({"files": spec("files", "--other")})
        await here.answer(child, old=True)
        await asked
        assert here.known.marked("files") == frozenset()
        known = here.tasks.create_task(here.known.known("files"))
        await here.answer(await here.child(2), new=True)
        await known
        assert here.known.marked("files") == {"new"}


async def test_what_the_site_says_of_tools_counts_from_the_reload_on() -> None:
    definitions = Definitions(lambda: 0.0, lambda server: None)
    async with asyncio.TaskGroup() as tasks:
        here = Scene(tasks)
        here.known = Catalogues({"files": spec()}, here.children, tasks.create_task, definitions)
        asked = here.ask()
        await here.answer(await here.child(), read=True)
        await asked
        assert here.known.marked("files") == {"read"}
        assert not here.known.contained("files")
        definitions.use({}, {"files": {"read": Override(annotations={"openWorldHint": False})}})
        here.known.reload({"files": spec()})
        again = tasks.create_task(here.known.known("files"))
        await here.answer(await here.child(2), read=True)
        await again
        assert here.known.contained("files") == {"read"}
        here.known.reload({"files": spec()})
        await here.known.known("files")
        assert len(here.children.started) == 2


async def test_a_server_that_is_not_there_is_not_asked() -> None:
    async with scene() as here:
        with pytest.raises(CatalogueError, match="no server"):
            await here.known.get("other")
        assert not here.children.started


async def test_it_is_known_which_arguments_of_a_tool_stand_in_headers_too() -> None:
    async with scene() as here:
        assert here.known.mirrored("files", "read") == ()
        asked = here.ask()
        child = await here.child()
        schema = {"properties": {"a": {"type": "string", "x-mcp-header": "A"}}}
        tools = [{"name": "read", "inputSchema": schema}, {"name": "drop"}]
        child.answer(await child.heard("tools/list"), {"tools": tools})
        await asked
        assert [one.header for one in here.known.mirrored("files", "read")] == ["mcp-param-a"]
        assert here.known.mirrored("files", "drop") == ()
        here.known.reload({"files": spec("files", "--other")})
        assert here.known.mirrored("files", "read") == ()


async def test_what_says_that_it_has_changed_is_asked_again_by_who_needs_to_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalogues, "FRESH_S", 0.0)
    async with scene() as here:
        asked = here.tasks.create_task(here.known.known("files"))
        await here.answer(await here.child(), read=True)
        await asked
        await here.known.known("files")
        here.known.changed("files")
        again = here.tasks.create_task(here.known.known("files"))
        await here.answer(await here.child(2), read=True, find=True)
        await again
        assert here.known.marked("files") == {"read", "find"}
        await here.known.known("files")
        assert len(here.children.started) == 2


async def test_a_change_right_after_it_was_asked_waits() -> None:
    async with scene() as here:
        asked = here.tasks.create_task(here.known.known("files"))
        await here.answer(await here.child(), read=True)
        await asked
        here.known.changed("files")
        await here.known.known("files")
        assert len(here.children.started) == 1
