"""The GET stream: what the server says by itself, and coming back to it."""

from __future__ import annotations

import asyncio

import pytest

from tests.agent.endpoint.talk import Talk, talking
from tests.harness.fake_exchange import FakeExchange


async def listening(talk: Talk, session: str) -> FakeExchange:
    get = talk.send("GET", session=session)
    await get.until_head()
    await talk.settle()
    return get


def data(get: FakeExchange) -> list[object]:
    return [event["params"] for event in get.events()]


async def test_a_get_stream_of_2025_11_25_is_primed_and_its_events_have_ids() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        get = await listening(talk, session)
        assert [(bool(id), retry, data) for id, retry, data in get.fields()] == [(True, 3000, b"")]
        child.note("notifications/message", data=1)
        await get.event()
        assert len(set(get.ids())) == 2
        get.leave()


async def test_an_older_one_is_not_primed() -> None:
    async with talking() as talk:
        session, child = await talk.session("2025-06-18")
        get = await listening(talk, session)
        assert get.content == b""
        child.note("notifications/message", data=1)
        await get.event()
        assert all(get.ids())
        get.leave()


@pytest.mark.parametrize("seen", [0, 1, 2, 3])
async def test_who_comes_back_gets_what_followed_and_goes_on_live(seen: int) -> None:
    async with talking() as talk:
        session, child = await talk.session()
        get = await listening(talk, session)
        for n in (1, 2, 3):
            child.note("notifications/message", data=n)
            await get.event()
        get.leave()
        await talk.settle()
        child.note("notifications/message", data=4)  # when nobody listened
        back = talk.resume(session, get.ids()[seen])
        await talk.settle()
        child.note("notifications/message", data=5)
        await talk.settle()
        assert data(back) == [{"data": n} for n in range(seen + 1, 6)]
        back.leave()


async def test_what_was_not_sent_goes_once_to_the_next_stream_whichever_that_is() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        crawl = asyncio.Event()
        crawl.set()
        old = talk.send("GET", session=session, slow=crawl)
        await talk.settle()
        child.note("notifications/message", data=1)
        await old.event()
        crawl.clear()
        for n in (2, 3, 4):
            child.note("notifications/message", data=n)
        await talk.settle()
        new = await listening(talk, session)
        crawl.set()
        await old.until_end()
        assert data(old) == [{"data": 1}, {"data": 2}]
        assert data(new) == [{"data": 3}, {"data": 4}]
        again = talk.resume(session, old.ids()[1])
        await talk.settle()
        assert data(again) == [{"data": 2}]
        again.leave()
        new.leave()


async def test_the_newest_stream_wins_and_the_older_ends() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        old = await listening(talk, session)
        new = await listening(talk, session)
        await old.until_end()
        child.note("notifications/message", data=1)
        assert (await new.event())["params"] == {"data": 1}
        back = talk.resume(session, new.ids()[0])
        await new.until_end()
        assert (await back.event())["params"] == {"data": 1}
        child.note("notifications/message", data=2)
        assert (await back.event())["params"] == {"data": 2}
        back.leave()


async def test_at_its_deadline_the_client_is_told_when_to_come_back() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        get = await talk.send("GET", session=session, deadline=500.0).until_end()
        assert [retry for _, retry, _ in get.fields()] == [3000, 500]
        child.note("notifications/message", data=1)
        back = talk.resume(session, get.ids()[-1])
        assert (await back.event())["params"] == {"data": 1}
        back.leave()


async def test_a_stream_of_which_nothing_is_left_begins_anew() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        get = await listening(talk, session)
        get.leave()
        await talk.settle()
        back = talk.resume(session, get.ids()[0])
        await talk.settle()
        child.note("notifications/message", data=1)
        assert (await back.event())["params"] == {"data": 1}
        back.leave()
