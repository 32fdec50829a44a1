"""The committed vectors, against the codec and against each core alone."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from penstock.tunnel.agent import Agent
from penstock.tunnel.agent_exchange import Exchange as Held
from penstock.tunnel.agent_exchange import Started
from penstock.tunnel.codec import Decoder
from penstock.tunnel.errors import RemoteError
from penstock.tunnel.fields import Key
from penstock.tunnel.frames import ExchangeFrame, Frame, Hello, LinkFrame, Method, Purpose, Welcome
from penstock.tunnel.link import Link
from penstock.tunnel.origin import Origin
from penstock.tunnel.origin_exchange import DataArrived, Exchange, NotStarted, OutcomeUnknown, Request
from penstock.tunnel.states import End

FOLDER = Path(__file__).parents[2] / "vectors"
FRAMES = json.loads((FOLDER / "frames.json").read_text(encoding="utf-8"))
CONVERSATIONS = json.loads((FOLDER / "conversations.json").read_text(encoding="utf-8"))
CLASSES = {cls.type.name: cls for cls in (*get_args(LinkFrame), *get_args(ExchangeFrame))}


def unpacked(value: Any) -> bytes:
    if isinstance(value, str):
        return bytes.fromhex(value)
    return b"".join(
        bytes.fromhex(part) if isinstance(part, str) else bytes.fromhex(part["repeat"]) * part["times"]
        for part in value
    )


def text(value: Any) -> str:
    return value["repeat"] * value["times"] if isinstance(value, dict) else str(value)


def field(kind: Any, value: Any) -> object:
    """A value of JSON as the type of its field."""
    if kind is Key:
        return Key(bytes.fromhex(value["boot"]), int(value["seq"]))
    if kind is bytes:
        return unpacked(value)
    if kind is str:
        return text(value)
    if isinstance(kind, type) and issubclass(kind, IntEnum):
        return kind[value.upper()]
    if kind is bool:
        return value
    if kind is int:
        return int(value)
    (inner, *_) = get_args(kind)
    if get_args(inner):
        return tuple((text(name), text(content)) for name, content in value)
    return tuple(field(inner, v) for v in value)


def frame_of(expect: dict[str, Any]) -> Frame:
    cls = CLASSES[expect["frame"]]
    kinds = get_type_hints(cls)
    frame: Frame = cls(**{name: field(kinds[name], value) for name, value in expect["fields"].items()})
    return frame


def fed(data: bytes, step: int) -> list[tuple[int, Frame]] | int:
    """What a decoder makes of `data`, or the code that it closes with."""
    decoder = Decoder()
    frames: list[tuple[int, Frame]] = []
    try:
        for at in range(0, len(data), step):
            frames += decoder.feed(data[at : at + step])
    except RemoteError as error:
        return error.code
    return frames


@pytest.mark.parametrize("vector", FRAMES, ids=lambda v: v["name"])
def test_a_frame_is_what_its_vector_says(vector: dict[str, Any]) -> None:
    data = unpacked(vector["hex"])
    expect = vector["expect"]
    whole = fed(data, len(data))
    assert fed(data, 1 if len(data) < 2000 else 997) == whole
    if "close" in expect:
        assert whole == expect["close"]
        return
    frame = frame_of(expect)
    assert whole == [(expect["link"], frame)]
    if not vector.get("one_way"):
        assert frame.encode(expect["link"]) == data


def test_every_frame_type_has_good_and_bad_vectors() -> None:
    good = {v["expect"]["frame"] for v in FRAMES if "frame" in v["expect"]}
    bad = {v["name"].split(",")[0] for v in FRAMES if "close" in v["expect"]}
    assert good == set(CLASSES)
    assert bad >= set(CLASSES)


def test_a_good_frame_that_ends_early_is_waited_for() -> None:
    for vector in FRAMES:
        data = unpacked(vector["hex"])
        if "frame" in vector["expect"]:
            assert fed(data[:-1], len(data)) == []


def test_the_committed_files_are_what_the_maker_makes() -> None:
    spec = importlib.util.spec_from_file_location("make_vectors", FOLDER / "make.py")
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    for file, content in maker.made().items():
        assert (FOLDER / file).read_text(encoding="utf-8") == content, f"{file} is not what make.py makes"


@dataclass
class Alone:
    """One core, with the committed bytes in the place of the other."""

    who: str
    links: dict[int, Link]
    told: list[dict[str, Any]]


class OriginAlone(Alone):
    def __init__(self) -> None:
        super().__init__("origin", {}, [])
        self.core = Origin(bytes(range(16)))
        self.last: Exchange

    def up(self, number: int, hello: bytes, welcome: bytes) -> None:
        link = self.links[number] = Link(End.RELAY, number, 0.0)
        self.core.receive(link, hello, 0.0)
        (_, said), = Decoder().feed(welcome)  # fmt: skip
        assert isinstance(said, Welcome)
        link.admit(said)
        assert link.take(0.0) == welcome
        assert link.hello is not None
        self.core.link_up(link, "pump-house", link.hello.epoch, 0.0)

    def does(self, step: dict[str, Any]) -> None:
        if step["does"] == "revoke":
            self.core.revoke(self.last, 0.0)
        elif step["does"] == "open":
            principal = unpacked(step["principal"])
            headers = tuple((name, value) for name, value in step["headers"])
            request = Request(
                step["site"], step["server"], Method.POST, Purpose.MCP, headers, unpacked(step["body"]),
                sha256(principal).digest(), principal, step["deadline_ms"],
            )  # fmt: skip
            self.last = self.core.open(request, step["link"], None)

    def hears(self, number: int, data: bytes) -> None:
        self.core.receive(self.links[number], data, 0.0)

    def gone(self, number: int) -> None:
        self.links[number].close()
        self.core.link_gone(number, 0.0)

    def events(self) -> None:
        for event in self.core.events():
            told: dict[str, Any] = {"at": "origin", "told": type(event).__name__}
            told["key"] = str(event.exchange.key.seq)
            if isinstance(event, DataArrived):
                told["bytes"] = len(event.data)
            if isinstance(event, NotStarted | OutcomeUnknown):
                told["reason"] = None if event.reason is None else event.reason.name.lower()
            self.told.append(told)


class AgentAlone(Alone):
    def __init__(self) -> None:
        super().__init__("agent", {}, [])
        self.core = Agent(7)
        self.core.offer(["files"])
        self.last: Held

    def up(self, number: int, hello: bytes, welcome: bytes) -> None:
        link = self.links[number] = Link(End.AGENT, number, 0.0)
        link.greeted = lambda link, _: self.core.link_up(link)
        (_, said), = Decoder().feed(hello)  # fmt: skip
        assert isinstance(said, Hello)
        link.greet(said)
        assert link.take(0.0) == hello
        self.core.receive(link, welcome, 0.0)

    def does(self, step: dict[str, Any]) -> None:
        if step["does"] == "answer":
            headers = tuple((name, value) for name, value in step["headers"])
            self.core.head(self.last, step["status"], headers)
            self.core.write(self.last, unpacked(step["body"]))
            self.core.end(self.last)

    def hears(self, number: int, data: bytes) -> None:
        self.core.receive(self.links[number], data, 0.0)

    def gone(self, number: int) -> None:
        self.links[number].close()
        self.core.link_gone(number, 0.0)

    def events(self) -> None:
        for event in self.core.events():
            told: dict[str, Any] = {"at": "agent", "told": type(event).__name__}
            told["key"] = str(event.exchange.key.seq)
            if isinstance(event, Started):
                told["body"] = event.body
                self.last = event.exchange
            self.told.append(told)


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda c: c["name"])
@pytest.mark.parametrize("end", [OriginAlone, AgentAlone])
def test_each_end_plays_its_part_of_a_conversation(
    conversation: dict[str, Any], end: type[OriginAlone] | type[AgentAlone]
) -> None:
    alone = end()
    expected = []
    for step in conversation["steps"]:
        number = step.get("link")
        if "up" in step:
            alone.up(number, unpacked(step["hello"]), unpacked(step["welcome"]))
        elif "from" in step:
            data = unpacked(step["hex"])
            assert [frame.type.name for _, frame in Decoder().feed(data)] == step["frames"]
            if step["from"] == alone.who:
                assert alone.links[number].take(0.0) == data
            elif step["arrives"] == "now":
                alone.hears(number, data)
        elif "late" in step:
            if step["late"] != alone.who:
                alone.hears(number, unpacked(step["hex"]))
        elif step["at"] != alone.who:
            continue
        elif "gone" in step:
            alone.gone(number)
        elif "does" in step:
            alone.does(step)
        else:
            if "body" in step:
                step = step | {"body": unpacked(step["body"])}
            expected.append(step)
        alone.events()
    assert alone.told == expected
    assert not any(link.pending for link in alone.links.values())
