"""What the running agent keeps, says and does about definitions that are not as approved."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from penstock_agent import pinning
from penstock_agent.catalogue.offer import Catalogue, CatalogueError, Offer
from penstock_agent.config import Options, Settings, load
from penstock_agent.control import Args, Peer
from penstock_agent.exposing.reviewing import Review
from penstock_agent.gate.definitions import Sight
from penstock_agent.gate.expose import Item
from penstock_agent.gate.pins import Pinned
from penstock_agent.ledger.entries import CannotRecord, Entry, Event, Unrecorded
from penstock_agent.problem import Problem
from penstock_agent.withholding import Withholding

PEER = Peer(1001, 1)


class Written(Unrecorded):
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.full = False

    def record(self, entry: Entry, /) -> None:
        if self.full:
            raise CannotRecord
        assert isinstance(entry, Event)
        self.events.append(entry)


class Scene:
    def __init__(self, folder: Path, expose: str = '["read", "pay"]', more: str = "") -> None:
        self.folder = folder
        self.state = folder / "state"
        self.state.mkdir(exist_ok=True)
        self.configure(expose, more)
        self.ledger = Written()
        self.announced: list[tuple[str, Mapping[str, object]]] = []
        self.changed: list[frozenset[str]] = []
        self.offers: dict[str, bytes] = {"read": b'{"name":"read"}', "pay": b'{"name":"pay"}'}
        self.instructions = ""
        self.fails = ""
        self.start()

    def configure(self, expose: str, more: str = "") -> None:
        config = self.folder / "agent.toml"
        config.write_text(f'[servers.files]\ncommand = ["x"]\nexpose = {expose}\n{more}')
        config.chmod(0o600)

    @property
    def settings(self) -> Settings:
        return load(Options(self.folder / "agent.toml", self.state), {})

    def start(self) -> None:
        self.made = Withholding(
            self.settings, self.ledger, lambda what, about: self.announced.append((what, about))
        )
        self.made.told = self.changed.append
        self.made.read = self.read

    async def read(self, server: str) -> Catalogue:
        if self.fails:
            raise CatalogueError(self.fails)
        items = [Offer(Item.TOOL, name, definition=raw) for name, raw in self.offers.items()]
        catalogue = Catalogue(server, items, self.instructions)
        self.made.definitions.read(server, catalogue.definitions, self.instructions)
        return catalogue

    async def review(self) -> Review:
        return msgspec.convert(await self.made.review(PEER, {"server": "files"}), Review)

    async def approve(self, **args: object) -> Args:
        return await self.made.approve(PEER, {"server": "files", **args})


async def turn() -> None:
    """What was to be done soon is done."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_the_first_reading_is_kept_and_recorded(tmp_path: Path) -> None:
    here = Scene(tmp_path)
    await here.read("files")
    await turn()
    kept = pinning.load(here.state, "files")
    assert isinstance(kept, Pinned)
    assert sorted(kept.approved.items) == ["tool:pay", "tool:read"]
    (event,) = here.ledger.events
    assert (event.what, event.by_uid, event.about["server"], event.about["items"]) == (
        "pinned", -1, "files", 2,
    )  # fmt: skip
    assert (here.announced, here.made.summary, here.changed) == ([], "", [])


async def test_what_is_withheld_is_said_once_and_a_restart_keeps_it(tmp_path: Path) -> None:
    here = Scene(tmp_path)
    await here.read("files")
    await turn()
    here.offers |= {"read": b'{"name":"read","x":1}', "new": b'{"name":"new"}'}
    for _ in range(3):
        await here.read("files")
        await turn()
    assert here.made.withheld == {"files": {"tool:read": "changed"}}  # the new one is not exposed
    assert here.made.count == 1
    assert [event.what for event in here.ledger.events] == ["pinned", "withheld"]
    ((event, about),) = here.announced
    assert event == "withheld"
    assert (about["server"], about["count"]) == ("files", 1)
    assert about["items"] == [{"item": "tool:read", "why": "changed"}]
    json.dumps(about)
    assert here.made.summary == "1 definitions withheld (penstock-agent tools review)"
    assert here.changed == [frozenset({"files", ""})]

    here.start()
    assert here.made.withheld == {"files": {"tool:read": "changed"}}
    sight = Sight()
    assert here.made.definitions.shown("files", sight, Item.TOOL, "read", b'{"name":"read"}') is None
    assert len(here.announced) == 1


async def test_a_review_asks_the_server_and_one_of_two_is_approved(tmp_path: Path) -> None:
    here = Scene(tmp_path)
    assert (await here.review()).changes == []
    here.offers = {"read": b'{"name":"read","x":1}', "pay": b'{"name":"pay","x":1}'}
    found = await here.review()
    digests = {one.key: one.digest for one in found.changes}
    assert sorted(digests) == ["tool:pay", "tool:read"]
    left = msgspec.convert(await here.approve(items={"tool:read": digests["tool:read"]}), Review)
    assert [one.key for one in left.changes] == ["tool:pay"]
    assert left.by_uid == 1001
    assert here.ledger.events[-1].what == "approved"
    assert here.ledger.events[-1].by_uid == 1001
    assert here.changed[-1] == frozenset({"files", ""})
    kept = pinning.load(here.state, "files")
    assert isinstance(kept, Pinned)
    assert sorted(kept.waiting) == ["tool:pay"]


async def test_what_has_changed_since_it_was_shown_is_not_approved(tmp_path: Path) -> None:
    here = Scene(tmp_path)
    await here.review()
    here.offers["read"] = b'{"name":"read","x":1}'
    (shown,) = (await here.review()).changes
    here.offers["read"] = b'{"name":"read","x":2}'
    await here.review()
    with pytest.raises(Problem, match="has changed once more since it was shown"):
        await here.approve(items={shown.key: shown.digest})


async def test_a_server_that_cannot_be_asked_is_reviewed_as_it_was_seen(tmp_path: Path) -> None:
    here = Scene(tmp_path)
    await here.review()
    here.offers["read"] = b'{"name":"read","x":1}'
    await here.review()
    here.fails = "It ended."
    found = await here.review()
    assert (found.problem, [one.key for one in found.changes]) == ("It ended.", ["tool:read"])


async def test_a_broken_file_withholds_everything_until_all_is_approved_afresh(tmp_path: Path) -> None:
    here = Scene(tmp_path)
    await here.review()
    await turn()
    path = pinning.path(here.state, "files")
    path.write_text("{")
    here.start()
    await here.read("files")
    await turn()
    assert path.read_text() == "{"  # nothing is taken for approved
    assert "what was approved cannot be read" in here.made.summary
    assert "is not what this agent writes" in (await here.review()).broken
    with pytest.raises(Problem):
        await here.approve(items={"tool:read": "x"})
    await here.approve(afresh=True)
    assert isinstance(pinning.load(here.state, "files"), Pinned)
    assert here.made.summary == ""
    assert (await here.review()).by_uid == 1001


async def test_the_settings_are_read_again(tmp_path: Path) -> None:
    here = Scene(tmp_path, '["read"]')
    await here.review()
    here.offers["pay"] = b'{"name":"pay","x":1}'
    await here.review()
    await turn()
    assert here.made.withheld == {}
    here.configure('["*"]', '[servers.files.tools.read]\ndescription = "ours"\n')
    here.made.use(here.settings)
    assert here.made.withheld == {"files": {"tool:pay": "changed"}}
    assert here.changed == [frozenset({"files", ""})]  # the site's words are others now
    assert here.made.definitions.overrides["files"]["read"].description == "ours"


async def test_a_disk_that_is_full_is_said_and_withholds_all_the_same(tmp_path: Path) -> None:
    here = Scene(tmp_path)
    await here.review()
    await turn()
    here.ledger.full = True
    (here.state / "pins" / "files.json").unlink()
    (here.state / "pins").rmdir()
    (here.state / "pins").write_text("in the way")
    here.offers["read"] = b'{"name":"read","x":1}'
    await here.review()
    await turn()
    assert here.made.withheld == {"files": {"tool:read": "changed"}}


async def test_what_is_asked_must_name_a_server(tmp_path: Path) -> None:
    here = Scene(tmp_path)
    for args in ({}, {"server": "crm"}):
        with pytest.raises(Problem):
            await here.made.review(PEER, args)
    here.made.read = None
    with pytest.raises(Problem, match="is starting"):
        await here.review()
