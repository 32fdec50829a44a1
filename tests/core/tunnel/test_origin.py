from __future__ import annotations

import pytest

from penstock.tunnel.errors import CloseCode, LocalError, RemoteError
from penstock.tunnel.fields import Key
from penstock.tunnel.frames import (
    Attach,
    Credit,
    Data,
    Done,
    DoneReason,
    End,
    EndReason,
    Frame,
    GoAway,
    GoAwayReason,
    Head,
    Lost,
    Offer,
    Open,
    Principal,
)
from penstock.tunnel.limits import FREE_WINDOW, GRACE
from penstock.tunnel.origin import Origin
from penstock.tunnel.origin_exchange import (
    Answered,
    DataArrived,
    HeadArrived,
    NotStarted,
    OutcomeUnknown,
)
from penstock.tunnel.states import LAST_WORDS, OriginState
from tests.core.tunnel.scene import sent
from tests.core.tunnel.sites import BOOT, OriginSite
from tests.harness import wire


@pytest.fixture
def site() -> OriginSite:
    return OriginSite()


# -- a call ------------------------------------------------------------------------------------------


def test_a_small_call_is_three_frames(site: OriginSite) -> None:
    link = site.link()
    exchange = site.call(link)
    site.hears(link, Head(exchange.key, 200, (("content-type", "text/plain"),), b"answer", True))
    assert site.events == [
        HeadArrived(exchange, 200, (("content-type", "text/plain"),)),
        DataArrived(exchange, b"answer"),
        Answered(exchange),
    ]
    assert sent(link) == [Done(exchange.key, DoneReason.OK)]
    assert not site.origin.open_exchanges


def test_what_stands_before_a_bad_frame_in_one_message_counts(site: OriginSite) -> None:
    link = site.link()
    exchange = site.call(link)
    data = Head(exchange.key, 200, (), b"answer", True).encode() + b"\0\0\0\0\xff\0\0\0\0\0"
    with pytest.raises(RemoteError):
        site.origin.receive(link, data, 0.0)
    site.end.dispatch()
    assert isinstance(site.events[-1], Answered)


def test_keys_count_up_and_none_is_used_twice(site: OriginSite) -> None:
    link = site.link()
    assert [site.call(link).key for _ in range(3)] == [Key(BOOT, n) for n in (1, 2, 3)]


def test_frames_that_are_not_about_exchanges_are_for_the_owner(site: OriginSite) -> None:
    frames: list[Frame] = [Offer(bytes(32), ("files",)), GoAway(GoAwayReason.DRAIN, 0)]
    assert site.origin.receive(site.link(), b"".join(f.encode() for f in frames), 0.0) == frames


def test_a_link_that_is_gone_opens_nothing(site: OriginSite) -> None:
    with pytest.raises(LocalError, match="gone"):
        site.origin.open(wire.request(), 5, None)


def test_a_boot_has_16_bytes() -> None:
    with pytest.raises(LocalError):
        Origin(b"short")


# -- a peer that breaks the rules --------------------------------------------------------------------


@pytest.mark.parametrize("key", [Key(BOOT, 2), Key(BOOT, 0), Key(b"x" * 16, 1)])
def test_a_key_that_was_never_used_closes_the_link(site: OriginSite, key: Key) -> None:
    link = site.link()
    site.call(link)
    with pytest.raises(RemoteError) as caught:
        site.hears(link, Head(key, 200, ()))
    assert caught.value.code is CloseCode.UNKNOWN_EXCHANGE


def test_a_key_that_was_not_sent_yet_closes_the_link(site: OriginSite) -> None:
    link = site.link()
    exchange = site.origin.open(wire.request(), link.number, None)
    with pytest.raises(RemoteError) as caught:
        site.hears(link, End(exchange.key, 0, EndReason.BUSY))
    assert caught.value.code is CloseCode.UNKNOWN_EXCHANGE


def test_an_agent_cannot_touch_the_exchange_of_another(site: OriginSite) -> None:
    mine, other = site.link("a1"), site.link("a2", 8)
    exchange = site.call(mine)
    site.hears(other, Head(exchange.key, 200, (), b"forged", True))
    assert not site.events
    assert exchange.state is OriginState.WAITING


def test_bytes_above_the_credit_close_the_link(site: OriginSite) -> None:
    link = site.link()
    exchange = site.call(link)
    frames = [Data(exchange.key, at, bytes(16_384)) for at in range(0, FREE_WINDOW + 1, 16_384)]
    with pytest.raises(RemoteError) as caught:
        site.hears(link, Head(exchange.key, 200, ()), *frames)
    assert caught.value.code is CloseCode.CREDIT


def test_an_end_below_what_has_arrived_closes_the_link(site: OriginSite) -> None:
    link = site.link()
    exchange = site.call(link)
    with pytest.raises(RemoteError) as caught:
        site.hears(link, Head(exchange.key, 200, (), b"answer"), End(exchange.key, 3))
    assert caught.value.code is CloseCode.CREDIT


def test_a_frame_that_names_a_link_is_for_replicas_only(site: OriginSite) -> None:
    link = site.link()
    exchange = site.call(link)
    with pytest.raises(RemoteError) as caught:
        site.origin.receive(link, Head(exchange.key, 200, ()).encode(3), 0.0)
    assert caught.value.code is CloseCode.MALFORMED


def test_frames_of_a_finished_exchange_are_ignored(site: OriginSite) -> None:
    link = site.link()
    exchange = site.call(link)
    assert site.origin.done(exchange, DoneReason.CLIENT_GONE)
    site.hears(link, Head(exchange.key, 200, (), b"late"), Credit(exchange.key, 9, 1), End(exchange.key, 99))
    assert not site.events


# -- what an END proves ------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", EndReason)
def test_done_answers_only_what_the_agent_keeps(site: OriginSite, reason: EndReason) -> None:
    link = site.link()
    exchange = site.call(link)
    if reason is EndReason.OK:
        site.hears(link, Head(exchange.key, 200, ()))
    site.hears(link, End(exchange.key, 0, reason))
    assert exchange.state is OriginState.FINISHED
    assert sent(link) == ([Done(exchange.key, DoneReason.OK)] if reason in LAST_WORDS else [])


def test_a_refused_principal_is_sent_again_with_the_next_key(site: OriginSite) -> None:
    link = site.link()
    first = site.call(link)
    site.hears(link, End(first.key, 0, EndReason.UNKNOWN_PRINCIPAL))
    assert site.events == [NotStarted(first, EndReason.UNKNOWN_PRINCIPAL)]
    site.origin.open(wire.request(), link.number, None)
    assert [type(f) for f in sent(link)] == [Principal, Open]
    site.origin.open(wire.request(), link.number, None)
    assert [type(f) for f in sent(link)] == [Open]


# -- links that go -----------------------------------------------------------------------------------


def test_what_was_not_sent_did_not_start(site: OriginSite) -> None:
    link = site.link()
    exchange = site.origin.open(wire.request(), link.number, None)
    site.gone(link)
    assert site.events == [NotStarted(exchange, None)]


def test_an_exchange_goes_on_over_another_link_at_once_and_over_the_newest(site: OriginSite) -> None:
    first, second, third = site.link(), site.link(), site.link()
    exchange = site.call(first)
    site.gone(first)
    assert not sent(second)
    assert sent(third) == [Attach(exchange.key, 1, 7, 0, FREE_WINDOW)]


def test_frames_of_a_link_that_an_exchange_has_left_are_ignored(site: OriginSite) -> None:
    first, second = site.link(), site.link()
    exchange = site.call(first)
    site.origin.link_gone(first.number, 0.0)
    site.hears(first, Head(exchange.key, 200, (), b"x", True))
    assert not site.events
    assert sent(second)


def test_the_link_of_another_agent_is_no_way(site: OriginSite) -> None:
    link = site.link("a1")
    exchange = site.call(link)
    other = site.link("a2", 7)
    site.gone(link)
    assert not other.pending
    assert exchange.state is OriginState.CUT


def test_without_a_link_the_outcome_is_unknown_after_the_grace(site: OriginSite) -> None:
    link = site.link()
    exchange = site.call(link)
    site.gone(link, 5.0)
    assert site.origin.due == 5.0 + GRACE
    site.origin.tick(5.0 + GRACE - 0.1)
    assert exchange.state is OriginState.CUT
    site.origin.tick(5.0 + GRACE)
    site.end.dispatch()
    assert site.events == [OutcomeUnknown(exchange, None)]
    assert site.origin.due is None


def test_the_grace_begins_anew_with_each_cut(site: OriginSite) -> None:
    first = site.link()
    exchange = site.call(first)
    site.gone(first, 0.0)
    second = site.link()
    site.gone(second, 50.0)
    site.origin.tick(GRACE)
    assert exchange.state is OriginState.CUT
    assert site.origin.due == 50.0 + GRACE
    site.origin.tick(50.0 + GRACE)
    assert not site.origin.open_exchanges


def test_an_agent_that_began_another_life_ends_the_wait(site: OriginSite) -> None:
    link = site.link(epoch=7)
    exchange = site.call(link)
    site.gone(link)
    site.link(epoch=8)
    assert site.events == [OutcomeUnknown(exchange, None)]


def test_an_agent_that_began_another_life_before_the_old_link_died_ends_it_too(site: OriginSite) -> None:
    old = site.link(epoch=7)
    exchange = site.call(old)
    site.link(epoch=8)
    assert not site.events
    site.gone(old)
    assert site.events == [OutcomeUnknown(exchange, None)]


def test_lost_is_a_link_that_is_gone(site: OriginSite) -> None:
    first, second = site.link(), site.link()
    exchange = site.call(first)
    assert site.origin.frame(first, Lost(), 0.0)
    assert sent(second) == [Attach(exchange.key, 1, 7, 0, FREE_WINDOW)]


def test_many_exchanges_are_given_up_at_once(site: OriginSite) -> None:
    link = site.link()
    for _ in range(3000):
        site.call(link)
    site.gone(link)
    site.origin.tick(GRACE)
    site.end.dispatch()
    assert len(site.events) == 3000
    assert not site.origin.open_exchanges
