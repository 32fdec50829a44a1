from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.tunnel import limits
from penstock.tunnel.codec import Decoder
from penstock.tunnel.errors import CloseCode, LocalError, RemoteError
from penstock.tunnel.fields import Key
from penstock.tunnel.frames import (
    Data,
    End,
    Frame,
    FrameType,
    GoAway,
    GoAwayReason,
    Ledger,
    Lost,
    Notice,
    Offer,
    Ping,
    Welcome,
)
from penstock.tunnel.link import Link
from penstock.tunnel.states import LEGAL, SINCE, LinkState
from penstock.tunnel.states import End as LinkEnd
from tests.core.tunnel.strategies import frames
from tests.harness import wire

LEDGER = Ledger(bytes(32), 1, bytes(32), 2, bytes(64))
NOTICE = Notice(3, 1, ledger_failing=True)
HELLO, WELCOME = wire.hello("a1", 7), wire.welcome(b"o" * 16)


def at_relay(state: LinkState = LinkState.OPEN, version: int = 1) -> Link:
    link = Link(LinkEnd.RELAY, 1, 0.0)
    if state is not LinkState.GREETING:
        list(link.receive(HELLO.encode(), 0.0))
        link.admit(replace(WELCOME, version=version))
        link.take(0.0)
    return into(link, state)


def at_agent(state: LinkState = LinkState.OPEN, version: int = 1) -> Link:
    link = Link(LinkEnd.AGENT, 1, 0.0)
    link.greet(replace(HELLO, versions=tuple(range(version, 0, -1))))
    link.take(0.0)
    if state is not LinkState.GREETING:
        list(link.receive(replace(WELCOME, version=version).encode(), 0.0))
    return into(link, state)


def into(link: Link, state: LinkState) -> Link:
    if state is LinkState.DRAINING:
        link.go_away(GoAwayReason.DRAIN, 0)
        link.take(0.0)
    elif state is LinkState.CLOSED:
        link.close()
    assert link.state is state
    return link


def sent(link: Link, now: float = 0.0) -> list[Frame]:
    return [frame for _, frame in Decoder().feed(link.take(now))]


def heard(link: Link, frame: Frame, now: float = 0.0) -> list[Frame]:
    return [frame for _, frame in link.receive(frame.encode(), now)]


# -- greeting ----------------------------------------------------------------------------------------


def test_hello_and_welcome_open_a_link_at_both_ends() -> None:
    agent, relay = Link(LinkEnd.AGENT, 1, 0.0), Link(LinkEnd.RELAY, 1, 0.0)
    agent.greet(HELLO)
    assert not list(relay.receive(agent.take(0.0), 0.0))
    assert relay.hello == HELLO
    relay.admit(WELCOME)
    greeted: list[object] = []
    agent.greeted = lambda link, welcome: greeted.append((link, welcome))
    assert not list(agent.receive(relay.take(0.0), 0.0))
    assert greeted == [(agent, WELCOME)]
    assert (agent.state, relay.state) == (LinkState.OPEN, LinkState.OPEN)


def test_the_owner_is_told_of_welcome_before_it_gets_what_stands_behind_it() -> None:
    link = at_agent(LinkState.GREETING)
    order: list[str] = []
    link.greeted = lambda *_: order.append("greeted")
    for _, frame in link.receive(WELCOME.encode() + Lost(b"b" * 16).encode(), 0.0):
        order.append(frame.type.name)
    assert order == ["greeted", "LOST"]


def test_a_version_that_was_not_offered_closes_the_link() -> None:
    welcome = wire.welcome(b"o" * 16)
    welcome.version = 2
    with pytest.raises(RemoteError) as caught:
        heard(at_agent(LinkState.GREETING), welcome)
    assert caught.value.code is CloseCode.VERSION


def test_welcome_before_hello_is_our_own_error() -> None:
    with pytest.raises(LocalError):
        Link(LinkEnd.RELAY, 1, 0.0).admit(WELCOME)


@pytest.mark.parametrize(("heartbeat_ms", "seconds"), [(0, 1.0), (5000, 5.0), (2**32 - 1, 600.0)])
def test_an_agent_takes_no_heartbeat_that_would_hurt_it(heartbeat_ms: int, seconds: float) -> None:
    welcome = wire.welcome(b"o" * 16)
    welcome.heartbeat_ms = heartbeat_ms
    link = at_agent(LinkState.GREETING)
    heard(link, welcome)
    assert link.heartbeat == seconds


# -- what is legal -----------------------------------------------------------------------------------


@given(
    st.sampled_from([LinkEnd.RELAY, LinkEnd.AGENT]),
    st.sampled_from(LinkState),
    st.sampled_from(limits.VERSIONS),
    frames,
)
def test_every_frame_in_every_state_is_legal_or_closes_the_link(
    end: LinkEnd, state: LinkState, version: int, frame: Frame
) -> None:
    link = at_relay(state, version) if end is LinkEnd.RELAY else at_agent(state, version)
    code = None
    passed_on: list[Frame] = []
    try:
        passed_on = heard(link, frame)
    except RemoteError as error:
        code = error.code
    if frame.type not in LEGAL[end, state] or SINCE.get(frame.type, 1) > version:
        assert code is CloseCode.WRONG_STATE
        return
    if isinstance(frame, Welcome) and not 1 <= frame.version <= version:
        assert code is CloseCode.VERSION
        return
    assert code is None
    own = frame.type in (FrameType.HELLO, FrameType.WELCOME, FrameType.PING)
    assert passed_on == ([] if own else [frame])


@given(st.lists(frames, max_size=6))
def test_a_message_is_heard_alike_whole_and_byte_by_byte(said: list[Frame]) -> None:
    data = b"".join(frame.encode() for frame in said if len(frame.encode()) < 2000)
    results = []
    for step in (len(data) or 1, 1):
        link = at_relay()
        passed_on = []
        code = None
        try:
            for at in range(0, len(data), step):
                for item in link.receive(data[at : at + step], 0.0):
                    passed_on.append(item)
        except RemoteError as error:
            code = error.code
        results.append((passed_on, code, link.state, sent(link)))
    assert results[0] == results[1]


def test_a_ledger_head_travels_once_version_2_was_chosen_and_not_before() -> None:
    for link, legal in (
        (at_relay(version=1), False),
        (at_relay(version=2), True),
        (at_relay(LinkState.DRAINING, 2), True),
        (at_agent(version=1), False),
        (at_agent(version=2), True),
        (at_agent(LinkState.DRAINING, 2), True),
        (at_relay(LinkState.GREETING), False),
        (at_agent(LinkState.GREETING, 2), False),
    ):
        if legal:
            assert heard(link, LEDGER) == [LEDGER]
            continue
        with pytest.raises(RemoteError) as caught:
            heard(link, LEDGER)
        assert caught.value.code is CloseCode.WRONG_STATE


def test_a_notice_travels_to_the_relay_once_version_2_was_chosen_and_not_otherwise() -> None:
    for link, legal in (
        (at_relay(version=1), False),
        (at_relay(version=2), True),
        (at_relay(LinkState.DRAINING, 2), True),
        (at_relay(LinkState.GREETING), False),
        (at_agent(version=1), False),
        (at_agent(version=2), False),
        (at_agent(LinkState.DRAINING, 2), False),
        (at_agent(LinkState.GREETING, 2), False),
    ):
        if legal:
            assert heard(link, NOTICE) == [NOTICE]
            continue
        with pytest.raises(RemoteError) as caught:
            heard(link, NOTICE)
        assert caught.value.code is CloseCode.WRONG_STATE


@pytest.mark.parametrize("early", [LEDGER, NOTICE])
def test_what_version_2_brought_is_too_early_right_behind_hello(early: Ledger | Notice) -> None:
    link = Link(LinkEnd.RELAY, 1, 0.0)
    with pytest.raises(RemoteError) as caught:
        list(link.receive(replace(HELLO, versions=(2, 1)).encode() + early.encode(), 0.0))
    assert caught.value.code is CloseCode.WRONG_STATE


def test_a_second_hello_closes_the_link() -> None:
    with pytest.raises(RemoteError) as caught:
        heard(at_relay(), HELLO)
    assert caught.value.code is CloseCode.WRONG_STATE


# -- heartbeat ---------------------------------------------------------------------------------------


def test_ping_is_answered_at_once_with_the_same_token() -> None:
    link = at_relay()
    heard(link, Ping(77))
    assert sent(link) == [Ping(77, ack=True)]


def test_silence_of_our_own_sends_a_ping_whose_answer_measures_the_way() -> None:
    link = at_agent()
    assert link.due == 10.0
    link.tick(9.9)
    assert not link.pending
    link.tick(10.0)
    (ping,) = sent(link, 10.0)
    assert ping == Ping(1)
    heard(link, Ping(1, ack=True), 10.25)
    assert link.round_trip == 0.25
    assert link.due == 20.0


def test_an_answer_to_a_ping_that_was_not_sent_measures_nothing() -> None:
    link = at_agent()
    heard(link, Ping(5, ack=True), 1.0)
    assert link.round_trip is None


def test_nothing_is_sent_while_a_link_is_not_greeted_and_nobody_is_woken_for_it() -> None:
    link = at_agent(LinkState.GREETING)
    assert link.due == 25.0
    link.tick(24.0)
    assert not link.pending


def test_a_peer_that_is_silent_for_two_and_a_half_heartbeats_is_dead() -> None:
    link = at_agent()
    link.tick(10.0)
    link.take(10.0)
    link.tick(20.0)
    link.take(20.0)
    assert link.due == 25.0
    with pytest.raises(RemoteError) as caught:
        link.tick(25.0)
    assert caught.value.code is CloseCode.OVERDUE


def test_an_overdue_link_is_dead_before_its_buffers_are_read() -> None:
    link = at_agent()
    with pytest.raises(RemoteError) as caught:
        heard(link, Lost(b"b" * 16), 25.1)
    assert caught.value.code is CloseCode.OVERDUE


def test_any_frame_is_a_sign_of_life() -> None:
    link = at_relay()
    for now in range(0, 200, 20):
        heard(link, Offer(bytes(32), ()), float(now))
    link.tick(200.0)


# -- going away --------------------------------------------------------------------------------------


def test_goaway_drains_at_both_ends_and_only_the_one_that_said_it_leaves() -> None:
    relay, agent = at_relay(), at_agent()
    relay.go_away(GoAwayReason.RESTART, 500)
    (frame,) = sent(relay)
    assert frame == GoAway(GoAwayReason.RESTART, 500)
    assert heard(agent, frame) == [frame]
    assert (relay.state, agent.state) == (LinkState.DRAINING, LinkState.DRAINING)
    assert (relay.leaving, agent.leaving) == (True, False)
    agent.go_away(GoAwayReason.DRAIN, 0)
    assert agent.leaving


@pytest.mark.parametrize("state", [LinkState.GREETING, LinkState.CLOSED])
def test_nobody_is_asked_to_leave_where_nobody_was_greeted(state: LinkState) -> None:
    link = at_agent(state)
    link.go_away(GoAwayReason.DRAIN, 0)
    assert not link.pending
    assert link.state is state


# -- order of sending --------------------------------------------------------------------------------


class Stream:
    """Sends so many frames of payload."""

    def __init__(self, number: int, turns: int) -> None:
        self.key = Key(b"o" * 16, number)
        self.turns = turns

    def pump(self, link: Link) -> tuple[bytes, bool]:
        self.turns -= 1
        return Data(self.key, 0, bytes(limits.MAX_DATA)).encode(), self.turns > 0


def test_a_small_call_waits_for_at_most_one_turn_of_each_other_exchange() -> None:
    link = at_relay()
    for number in range(1, 5):
        link.ready(Stream(number, 100))
    link.take(0.0)
    small = Stream(9, 1)
    link.ready(small)
    order: list[int] = []
    while 9 not in order:
        order += [f.key.seq for f in sent(link) if isinstance(f, Data)]
    before = order[: order.index(9)]
    assert all(before.count(number) <= 1 for number in range(1, 5))


def test_control_frames_leave_before_payload_and_in_order() -> None:
    link = at_relay()
    link.ready(Stream(1, 10))
    link.take(0.0)
    ends = [End(Key(b"o" * 16, n), n) for n in range(1, 4)]
    for end in ends:
        link.control(end)
    assert sent(link)[:3] == ends


def test_control_frames_that_a_turn_brings_do_not_wait_behind_other_exchanges() -> None:
    class Asking(Stream):
        def pump(self, link: Link) -> tuple[bytes, bool]:
            link.control(Ping(1))
            return b"", False

    link = at_relay()
    link.ready(Asking(1, 1))
    for number in range(2, 9):
        link.ready(Stream(number, 10))
    assert sent(link)[0] == Ping(1)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(0, 200))
def test_messages_are_closed_at_32_kib_and_never_reach_256(turns: list[int], controls: int) -> None:
    link = at_relay()
    for number, n in enumerate(turns, 1):
        link.ready(Stream(number, n))
    for n in range(controls):
        link.control(Offer(bytes(32), ("x" * 255,) * (n % 200)))
    sizes = []
    while link.pending:
        sizes.append(len(link.take(0.0)))
    assert all(limits.BATCH <= size <= limits.MAX_MESSAGE for size in sizes[:-1])
    assert 0 < sizes[-1] <= limits.MAX_MESSAGE


def test_a_sender_is_queued_once_and_wakes_the_driver_once() -> None:
    link = at_relay()
    woken: list[int] = []
    link.wake = lambda: woken.append(1)
    stream = Stream(1, 1)
    link.ready(stream)
    link.ready(stream)
    link.control(Ping(1))
    assert woken == [1]
    assert len(sent(link)) == 2
    assert not link.pending
    link.ready(Stream(2, 1))
    assert woken == [1, 1]


def test_a_peer_that_asks_and_does_not_read_is_cut_off() -> None:
    link = at_relay()
    pings = Ping(1).encode() * 10_000
    for _ in range(4):
        list(link.receive(pings, 0.0))
    with pytest.raises(RemoteError) as caught:
        list(link.receive(pings, 0.0))
    assert caught.value.code is CloseCode.TOO_MANY


def test_a_closed_link_keeps_nothing() -> None:
    link = at_relay()
    link.ready(Stream(1, 5))
    link.control(Ping(1))
    link.close()
    assert not link.pending
    assert link.take(0.0) == b""
    link.close()
