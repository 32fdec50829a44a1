"""An exchange at the agent, driven into every state, and every input given to it there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.tunnel.agent_exchange import AgentEvent, Exchange, Gone, Room, Started
from penstock.tunnel.errors import LocalError, RemoteError
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
    Head,
    Principal,
)
from penstock.tunnel.limits import FREE_WINDOW, ROOM
from penstock.tunnel.link import Link
from penstock.tunnel.states import AGENT
from penstock.tunnel.states import AgentInput as In
from penstock.tunnel.states import AgentState as S
from tests.core.tunnel.scene import opened, sent
from tests.harness import wire

KEY = Key(b"o" * 16, 1)


class Driven:
    """An agent with one exchange, and every input as whoever causes it would give it."""

    def __init__(self) -> None:
        self.events: list[AgentEvent] = []
        self.end = wire.AgentEnd("a1", 7, self.events.append)
        self.agent = self.end.agent
        self.links = [self.end.link(KEY.boot)]
        self.counter = 0
        self.hears(Principal(wire.DIGEST, wire.CONTENT), opened(KEY, length=4, data=b"bo", end=False))
        self.exchange: Exchange = self.agent._held[KEY]

    @property
    def link(self) -> Link:
        return self.links[-1]

    @property
    def state(self) -> S:
        return self.exchange.state

    def hears(self, *frames: Frame) -> None:
        for frame in frames:
            self.agent.frame(self.link, frame, 0.0)
        self.end.dispatch()

    def sent(self) -> list[Frame]:
        frames = sent(self.link)
        self.end.dispatch()
        return frames

    def gives(self, given: In) -> None:
        match given:
            case In.OPEN:
                self.hears(opened(KEY))
            case In.DATA:
                self.hears(Data(KEY, 2, b"d"))
            case In.END:
                self.hears(Data(KEY, 2, b"dy", True))
            case In.CREDIT:
                self.hears(Credit(KEY, 0, FREE_WINDOW))
            case In.ATTACH:
                self.counter += 1
                self.hears(Attach(KEY, self.counter, 7, 0, FREE_WINDOW))
            case In.DONE:
                self.hears(Done(KEY, DoneReason.OK))
            case In.WRITE:
                if self.exchange.head is None:
                    self.agent.head(self.exchange, 200, ())
                else:
                    self.agent.write(self.exchange, b"more")
            case In.LAST_WORD:
                self.agent.end(self.exchange, EndReason.FAILED)
            case In.LINK_GONE:
                self.agent.link_gone(self.link.number, 0.0)
                self.links.append(self.end.link(KEY.boot))
            case In.ORPHANED:
                if self.exchange.link is not None:
                    self.gives(In.LINK_GONE)
                assert self.agent.due is not None
                self.agent.tick(self.agent.due)
        self.end.dispatch()


PATHS: dict[S, tuple[In, ...]] = {
    S.RECEIVING: (),
    S.RUNNING: (In.END,),
    S.ENDED: (In.END, In.WRITE, In.LAST_WORD),
    S.FREED: (In.END, In.DONE),
}


def in_state(state: S) -> Driven:
    driven = Driven()
    for given_ in PATHS[state]:
        driven.gives(given_)
    assert driven.state is state
    return driven


@pytest.mark.parametrize("state", [state for state in S if state is not S.FREED])
@pytest.mark.parametrize("given_", In)
def test_every_input_in_every_state_does_what_the_table_says(state: S, given_: In) -> None:
    driven = in_state(state)
    if (state, given_) not in AGENT:
        with pytest.raises(LocalError):  # only the owner can do what is in no table
            driven.gives(given_)
        assert driven.state is state
        return
    expected = AGENT[state, given_]
    if expected is None:
        with pytest.raises(RemoteError):
            driven.gives(given_)
        assert driven.state is state
    else:
        driven.gives(given_)
        assert driven.state is expected


@pytest.mark.parametrize("given_", [In.DATA, In.END, In.CREDIT, In.DONE])
def test_frames_for_what_is_not_held_are_ignored(given_: In) -> None:
    driven = in_state(S.FREED)
    driven.events.clear()
    driven.gives(given_)
    assert not driven.sent()
    assert not driven.events


@pytest.mark.parametrize("given_", [In.WRITE, In.LAST_WORD])
def test_a_server_that_answers_nobody_does_no_harm(given_: In) -> None:
    driven = in_state(S.FREED)
    driven.gives(given_)
    assert not driven.sent()


@given(st.lists(st.sampled_from([i for i in In if i is not In.OPEN]), max_size=14))
def test_any_sequence_of_inputs_follows_the_table_and_starts_once(inputs: list[In]) -> None:
    driven = Driven()
    for given_ in inputs:
        state = driven.state
        if state is S.FREED or (state, given_) not in AGENT:
            continue
        driven.gives(given_)
        assert driven.state is AGENT[state, given_]
    assert sum(isinstance(e, Started) for e in driven.events) <= 1
    assert sum(isinstance(e, Gone) for e in driven.events) == (driven.state is S.FREED)
    assert driven.agent.open_exchanges == (driven.state is not S.FREED)


# -- what leaves -------------------------------------------------------------------------------------


def test_a_small_answer_is_one_frame() -> None:
    driven = in_state(S.RUNNING)
    driven.agent.head(driven.exchange, 200, (("content-type", "text/plain"),))
    driven.agent.write(driven.exchange, b"answer")
    driven.agent.end(driven.exchange)
    assert driven.sent() == [Head(KEY, 200, (("content-type", "text/plain"),), b"answer", True)]


def test_an_answer_leaves_as_it_is_written() -> None:
    driven = in_state(S.RUNNING)
    driven.agent.head(driven.exchange, 200, ())
    assert driven.sent() == [Head(KEY, 200, ())]
    driven.agent.write(driven.exchange, b"one")
    assert driven.sent() == [Data(KEY, 0, b"one")]
    driven.agent.write(driven.exchange, b"two")
    assert driven.sent() == [Data(KEY, 3, b"two")]
    driven.agent.end(driven.exchange)
    assert driven.sent() == [End(KEY, 6)]
    assert not driven.sent()


def test_an_answer_stops_at_its_credit_and_goes_on_with_more() -> None:
    driven = in_state(S.RUNNING)
    driven.agent.head(driven.exchange, 200, ())
    driven.agent.write(driven.exchange, bytes(FREE_WINDOW + 10))
    driven.agent.end(driven.exchange)
    assert driven.exchange.sending.sent == 0
    driven.sent()
    assert driven.exchange.sending.sent == FREE_WINDOW
    driven.hears(Credit(KEY, 1000, FREE_WINDOW + 1000))
    assert driven.sent() == [Data(KEY, FREE_WINDOW, bytes(10), True)]


def test_everything_comes_again_after_an_attach_from_where_the_origin_says() -> None:
    driven = in_state(S.RUNNING)
    driven.agent.head(driven.exchange, 200, ())
    driven.agent.write(driven.exchange, b"0123456789")
    driven.agent.end(driven.exchange)
    driven.sent()
    driven.gives(In.LINK_GONE)
    driven.hears(Attach(KEY, 1, 7, 4, FREE_WINDOW + 4))
    assert driven.sent() == [Credit(KEY, 4, 4), Head(KEY, 200, ()), Data(KEY, 4, b"456789", True)]
    driven.gives(In.LINK_GONE)
    driven.hears(Attach(KEY, 2, 7, 10, FREE_WINDOW + 10))
    assert driven.sent() == [Credit(KEY, 4, 4), Head(KEY, 200, ()), End(KEY, 10)]


def test_a_failure_drops_what_was_not_sent_and_says_where_it_broke() -> None:
    driven = in_state(S.RUNNING)
    driven.agent.head(driven.exchange, 200, ())
    driven.agent.write(driven.exchange, b"sent")
    driven.sent()
    driven.agent.write(driven.exchange, b"never sent")
    driven.agent.end(driven.exchange, EndReason.FAILED)
    assert driven.sent() == [End(KEY, 4, EndReason.FAILED)]
    driven.gives(In.LINK_GONE)
    driven.hears(Attach(KEY, 1, 7, 0, FREE_WINDOW))
    assert driven.sent()[1:] == [Head(KEY, 200, (), b"sent"), End(KEY, 4, EndReason.FAILED)]


def test_a_writer_that_waits_is_told_of_room_once() -> None:
    driven = in_state(S.RUNNING)
    driven.agent.head(driven.exchange, 200, ())
    driven.agent.write(driven.exchange, bytes(FREE_WINDOW + ROOM + 1))
    driven.exchange.waiting = True
    driven.sent()
    assert not any(isinstance(e, Room) for e in driven.events)
    driven.hears(Credit(KEY, FREE_WINDOW, 2 * FREE_WINDOW))
    driven.sent()
    assert sum(isinstance(e, Room) for e in driven.events) == 1


def test_done_releases_what_was_kept() -> None:
    driven = in_state(S.RUNNING)
    driven.agent.head(driven.exchange, 200, ())
    driven.agent.write(driven.exchange, bytes(100_000))
    driven.sent()
    driven.gives(In.DONE)
    assert not driven.exchange.sending._chunks
    assert not driven.exchange.body
    assert not driven.agent._held


def test_an_answer_has_one_head_and_it_comes_first() -> None:
    driven = in_state(S.RUNNING)
    with pytest.raises(LocalError, match="comes first"):
        driven.agent.write(driven.exchange, b"x")
    with pytest.raises(LocalError, match="without a head"):
        driven.agent.end(driven.exchange)
    assert driven.state is S.RUNNING
    driven.agent.head(driven.exchange, 200, ())
    with pytest.raises(LocalError, match="one head"):
        driven.agent.head(driven.exchange, 200, ())


@pytest.mark.parametrize("reason", [r for r in EndReason if r not in (0, 16, 17, 18)])
def test_what_has_started_is_never_denied(reason: EndReason) -> None:
    driven = in_state(S.RUNNING)
    with pytest.raises(LocalError, match="nothing started"):
        driven.agent.end(driven.exchange, reason)
    assert driven.state is S.RUNNING


@pytest.mark.parametrize(
    "headers", [(("n" * 256, "v"),), (("n", "v" * 65_536),), (("n", "v" * 60_000),) * 2, (("n", "\udce9"),)]
)
def test_a_head_that_fits_no_frame_fails_its_server_and_not_the_link(
    headers: tuple[tuple[str, str], ...],
) -> None:
    driven = in_state(S.RUNNING)
    with pytest.raises(LocalError):
        driven.agent.head(driven.exchange, 200, headers)
    assert not driven.sent()
    driven.agent.end(driven.exchange, EndReason.FAILED)
    assert driven.sent() == [End(KEY, 0, EndReason.FAILED)]
