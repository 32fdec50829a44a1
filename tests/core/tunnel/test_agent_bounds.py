from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.tunnel import agent
from penstock.tunnel.agent import Agent
from penstock.tunnel.codec import Decoder
from penstock.tunnel.errors import CloseCode, LocalError, RemoteError
from penstock.tunnel.fields import Key
from penstock.tunnel.frames import (
    Attach,
    Credit,
    Done,
    DoneReason,
    End,
    EndReason,
    Frame,
    GoAway,
    GoAwayReason,
    Head,
    Open,
    Principal,
)
from penstock.tunnel.limits import FREE_WINDOW, MAX_DATA, MAX_EXCHANGES, MAX_REQUEST, MAX_WINDOW
from tests.core.tunnel.scene import opened, sent
from tests.core.tunnel.sites import BOOT, AgentSite, ended, key
from tests.harness import wire


@pytest.fixture
def site() -> AgentSite:
    return AgentSite()


# -- memory ------------------------------------------------------------------------------------------


def test_a_relay_that_makes_up_boots_is_cut_off(site: AgentSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "BOOTS", 3)
    link = site.link()
    asked = [Attach(Key(bytes([n]) * 16, 5), 1, 7, 0, FREE_WINDOW) for n in range(4)]
    site.hears(link, *asked[:3])
    again = replace(asked[0], key=Key(asked[0].key.boot, 9))
    assert [frame.reason for frame in site.hears(link, again) if isinstance(frame, End)] == [
        EndReason.UNKNOWN
    ]
    with pytest.raises(RemoteError) as caught:
        site.hears(link, asked[3])
    assert caught.value.code is CloseCode.TOO_MANY


# -- refusals ----------------------------------------------------------------------------------------


def test_refusals_in_the_order_of_their_checks() -> None:
    site = AgentSite(max_exchanges=1)
    link = site.link()
    site.hears(link, opened(key(1)), Attach(key(8), 1, 7, 0, FREE_WINDOW))
    wrong: dict[EndReason, Open] = {}
    frame = opened(key(9), principal=bytes(32))
    wrong[EndReason.UNKNOWN_PRINCIPAL] = frame
    frame = wrong[EndReason.UNKNOWN_SERVER] = replace(frame, server="other")
    assert site.hears(link, frame) == ended(9, EndReason.BUSY)
    frame = replace(frame, length=MAX_REQUEST + 1, end=False)
    assert site.hears(link, frame) == ended(9, EndReason.TOO_LARGE)
    frame = replace(frame, key=key(7))
    assert site.hears(link, frame) == ended(7, EndReason.STALE)
    frame = replace(frame, epoch=8)
    assert site.hears(link, frame) == ended(7, EndReason.WRONG_EPOCH)
    site.hears(link, Done(key(1), DoneReason.OK))
    for reason, refused in wrong.items():
        assert site.hears(link, refused) == ended(9, reason)
    site.agent.drain()
    assert site.hears(link, frame, wrong[EndReason.UNKNOWN_SERVER])[-1:] == ended(9, EndReason.DRAINING)
    assert not site.agent.open_exchanges


def test_the_server_of_nobody_is_the_endpoint_of_the_site(site: AgentSite) -> None:
    site.hears(site.link(), opened(key(1), server=""))
    assert site.started


def test_a_relay_that_drains_a_link_may_still_have_an_open_under_way(site: AgentSite) -> None:
    link = site.link()
    site.hears(link, GoAway(GoAwayReason.RESTART, 0), opened(key(1)))
    assert site.started


def test_an_agent_that_drains_a_link_refuses_there_and_nowhere_else(site: AgentSite) -> None:
    one, other = site.link(), site.link()
    one.go_away(GoAwayReason.DRAIN, 0)
    assert site.hears(one, opened(key(1)))[-1:] == ended(1, EndReason.DRAINING)
    assert not site.hears(other, opened(key(2)))
    assert site.started


def test_a_draining_agent_says_so_on_every_later_link(site: AgentSite) -> None:
    site.agent.drain()
    link = site.end.link(BOOT)
    assert sent(link) == [GoAway(GoAwayReason.DRAIN, 0)]


def test_no_more_exchanges_than_an_agent_holds(site: AgentSite) -> None:
    link = site.link()
    for seq in range(1, MAX_EXCHANGES + 1):
        assert not site.hears(link, opened(key(seq)))
    assert site.hears(link, opened(key(MAX_EXCHANGES + 1))) == ended(MAX_EXCHANGES + 1, EndReason.BUSY)
    site.hears(link, Done(key(1), DoneReason.OK))
    assert not site.hears(link, opened(key(MAX_EXCHANGES + 2)))


# -- who a link knows --------------------------------------------------------------------------------


def test_a_principal_is_known_on_the_link_it_came_on_only(site: AgentSite) -> None:
    one, other = site.link(), site.end.link(BOOT)
    assert not site.hears(one, opened(key(1)))
    assert site.hears(other, opened(key(2))) == ended(2, EndReason.UNKNOWN_PRINCIPAL)


def test_a_principal_with_the_digest_of_another_closes_the_link(site: AgentSite) -> None:
    with pytest.raises(RemoteError) as caught:
        site.hears(site.end.link(BOOT), Principal(bytes(32), wire.CONTENT))
    assert caught.value.code is CloseCode.MALFORMED


def test_a_refused_open_makes_its_principal_recent_as_at_the_origin(site: AgentSite) -> None:
    link = site.link()
    site.agent.drain()
    contents = [Principal.pack(str(n).encode()) for n in range(1023)]
    for content in contents:
        site.hears(link, Principal(sha256(content).digest(), content))
    site.hears(link, opened(key(1)))
    another = Principal.pack(b"another")
    site.hears(link, Principal(sha256(another).digest(), another))
    known = site.agent._principals[link.number]
    assert known.use(wire.DIGEST) is not None
    assert known.use(sha256(contents[0]).digest()) is None


# -- credit for requests -----------------------------------------------------------------------------


def test_a_budget_that_holds_no_large_request_is_our_own_error() -> None:
    with pytest.raises(LocalError, match="for ever"):
        Agent(7, request_budget=MAX_REQUEST - FREE_WINDOW - 1)


def test_a_long_request_is_granted_whole_and_the_budget_comes_back(site: AgentSite) -> None:
    link = site.link()
    assert site.hears(link, opened(key(1), bytes(100_000))) == [Credit(key(1), MAX_DATA, 100_000)]
    assert site.agent._budget.left == site.agent._budget.total - 100_000 + FREE_WINDOW
    site.hears(link, Done(key(1), DoneReason.CLIENT_GONE))
    assert site.agent._budget.left == site.agent._budget.total


def test_requests_that_are_given_up_while_they_wait_leave_nothing_behind() -> None:
    site = AgentSite(request_budget=MAX_REQUEST)
    link = site.link()
    site.hears(link, opened(key(1), bytes(MAX_REQUEST)))
    for seq in range(2, 200):
        assert not site.hears(link, opened(key(seq), bytes(MAX_REQUEST)))
        site.hears(link, Done(key(seq), DoneReason.CLIENT_GONE))
    assert not site.agent._grants
    site.hears(link, Done(key(1), DoneReason.CLIENT_GONE))
    assert site.agent._budget.left == site.agent._budget.total


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 64), st.booleans()), min_size=1, max_size=12),
    st.integers(1, 3),
    st.randoms(),
)
def test_long_requests_are_granted_in_order_and_never_block_each_other_for_ever(
    requests: list[tuple[int, bool]], budget: int, rng: object
) -> None:
    # Sizes in units of 64 KiB; one in two is given up by its caller at some time.
    site = AgentSite(request_budget=budget * MAX_REQUEST)
    link = site.link()
    sizes = {seq: units * FREE_WINDOW for seq, (units, _) in enumerate(requests, 1)}
    granted: list[int] = []
    open_ = list(sizes)
    waiting = [seq for seq in sizes if sizes[seq] > FREE_WINDOW]
    frames: list[Frame] = []
    for seq, size in sizes.items():
        frames += site.hears(link, opened(key(seq), bytes(size)))
    while open_:
        for frame in frames:
            assert isinstance(frame, Credit)
            assert frame.limit == sizes[frame.key.seq], "granted piecewise"
            assert frame.key.seq == waiting.pop(0), "granted out of turn"
            granted.append(frame.key.seq)
        whole = [seq for seq in open_ if seq in granted or sizes[seq] <= FREE_WINDOW]
        assert whole, "every request waits for another one"
        seq = whole[0] if requests[whole[0] - 1][1] else whole[-1]
        open_.remove(seq)
        frames = site.hears(link, Done(key(seq), DoneReason.OK))
    assert not waiting
    assert site.agent._budget.left == site.agent._budget.total


# -- much at once ------------------------------------------------------------------------------------


def test_a_20_mib_answer_to_a_slow_caller_keeps_no_more_than_the_window_under_way() -> None:
    size = 20 * 1024 * 1024
    arrived = taken = 0
    origin = wire.OriginEnd(BOOT, lambda event: None)
    site = AgentSite()
    near, far = wire.direct(origin, site.end)
    exchange = origin.origin.open(wire.request(b"much"), near.link.number, None)
    wire.settle(near, far)
    held = site.started[0].exchange
    site.agent.head(held, 200, ())
    written = 0
    now = 0.0
    while taken < size:
        while written < size and held.sending.unsent <= 1024 * 1024:
            site.agent.write(held, bytes(64 * 1024))
            written += 64 * 1024
        if written == size and held.last_word is None:
            site.agent.end(held)
        wire.settle(near, far)
        arrived = exchange.answer.received
        assert arrived - taken <= FREE_WINDOW
        assert held.sending.sent - held.sending.have <= MAX_WINDOW
        assert len(b"".join(held.sending._chunks)) <= 1024 * 1024 + 3 * FREE_WINDOW
        n = min(40_000, arrived - taken)
        taken += n
        now += 5.0
        origin.origin.taken(exchange, n, now)
    assert arrived == size
    assert not site.agent.open_exchanges
    assert not origin.origin.open_exchanges


def test_a_small_call_beside_a_bulk_answer_is_answered_in_the_next_message() -> None:
    site = AgentSite()
    link = site.link()
    site.hears(link, opened(key(1), limit=MAX_WINDOW), opened(key(2)))
    bulk, small = (e.exchange for e in site.started)
    site.agent.head(bulk, 200, ())
    site.agent.write(bulk, bytes(3_000_000))
    link.take(0.0)
    site.agent.head(small, 200, ())
    site.agent.write(small, b"small")
    site.agent.end(small)
    frames = [frame for _, frame in Decoder().feed(link.take(0.0))]
    assert Head(key(2), 200, (), b"small", True) in frames
    assert len(frames) <= 3
