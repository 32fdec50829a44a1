"""The relay asks a site what it exposes: one exchange over the link, and every way in which it can fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from penstock.http import Headers
from penstock.names import WHOLE_SITE
from penstock.principal import Principal
from penstock.tunnel.frames import DoneReason, Purpose
from penstock_relay import asking
from penstock_relay.asking import Asking
from penstock_relay.oauth import offers
from penstock_relay.oauth.offers import Offer
from penstock_relay.switchboard import AnswerBroken, Call, NotExecuted, Offline, OutcomeUnknown

ALICE = Principal("penstock", "alice", client="https://claude.ai/c")


@dataclass
class Answered:
    chunks: list[bytes | Exception]
    status: int = 200
    key: str = "key"
    headers: Headers = ()
    closed: DoneReason | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    def close(self, reason: DoneReason) -> None:
        self.closed = reason


@dataclass
class Board:
    answer: Answered | Exception | None
    calls: list[Call] = field(default_factory=list)

    async def exchange(self, call: Call) -> Answered:
        self.calls.append(call)
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is None:
            await asyncio.Event().wait()
        assert self.answer is not None
        return self.answer

    def servers(self, site: str) -> frozenset[str]:
        return frozenset({"files"}) if site == "oslo" else frozenset()

    def lacks(self, site: str, server: str) -> bool:
        return site == "oslo" and server != "files"


async def test_a_site_is_asked_in_the_name_of_its_user() -> None:
    answer = Answered([b'{"promp', b'ts":3}'])
    board = Board(answer)
    assert await Asking(board).offer(ALICE, "oslo", "files") == Offer(prompts=3)
    (call,) = board.calls
    assert (call.purpose, call.principal, call.body) == (Purpose.CONSENT, ALICE, b"")
    assert (call.site, call.server) == ("oslo", "files")
    assert answer.closed is DoneReason.OK


async def test_a_whole_site_is_asked_without_a_server_and_named_so_in_the_log() -> None:
    board = Board(Answered([b"{}"], status=404))
    with capture_logs() as lines:
        assert await Asking(board).offer(ALICE, "oslo", WHOLE_SITE) is None
    assert [call.server for call in board.calls] == [""]
    assert [(line["site"], line["server"]) for line in lines] == [("oslo", None)]


@pytest.mark.parametrize(
    "failure",
    [Offline(None), NotExecuted("no"), OutcomeUnknown("unknown")],
    ids=lambda error: type(error).__name__,
)
async def test_a_site_that_cannot_be_reached_is_silent(failure: Exception) -> None:
    assert await Asking(Board(failure)).offer(ALICE, "oslo", "files") is None


@pytest.mark.parametrize(
    "answer",
    [
        Answered([b"{}"], status=503),
        Answered([b'{"prompts":', AnswerBroken("cut")]),
        Answered([b" " * offers.MAX_BYTES, b" "]),
    ],
    ids=["status", "broken", "long"],
)
async def test_an_answer_that_is_none_is_silence_and_is_given_up(answer: Answered) -> None:
    assert await Asking(Board(answer)).offer(ALICE, "oslo", "files") is None
    assert answer.closed is DoneReason.CLIENT_GONE


async def test_an_answer_that_is_no_list_is_silence() -> None:
    assert await Asking(Board(Answered([b"{"]))).offer(ALICE, "oslo", "files") is None


async def test_a_site_that_never_answers_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "SILENT_S", 0.01)
    assert await Asking(Board(None)).offer(ALICE, "oslo", "files") is None


async def test_only_so_many_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "SILENT_S", 0.05)
    monkeypatch.setattr(asking, "AT_ONCE", 2)
    monkeypatch.setattr(asking, "WAITING", 1)
    board = Board(None)
    waiting = Asking(board)
    offered = await asyncio.gather(*(waiting.offer(ALICE, "oslo", "files") for _ in range(5)))
    assert offered == [None] * 5
    assert len(board.calls) <= 3


def test_what_the_site_offers_is_known_without_asking() -> None:
    waiting = Asking(Board(None))
    assert waiting.servers("oslo") == {"files"}
    assert waiting.lacks("oslo", "git")
    assert not waiting.lacks("bergen", "git")
