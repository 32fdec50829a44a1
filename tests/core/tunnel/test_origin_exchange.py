"""An exchange at its origin, driven into every state, and every input given to it there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.tunnel.errors import LocalError, RemoteError
from penstock.tunnel.frames import Attach, Credit, Data, Done, DoneReason, End, EndReason, Frame, Head, Open
from penstock.tunnel.limits import FREE_WINDOW, REVOKE_GRACE
from penstock.tunnel.link import Link
from penstock.tunnel.origin_exchange import OriginEvent
from penstock.tunnel.states import ORIGIN
from penstock.tunnel.states import OriginInput as In
from penstock.tunnel.states import OriginState as S
from tests.core.tunnel.scene import sent
from tests.harness import wire

FRAMES = frozenset({In.HEAD, In.DATA, In.CREDIT, In.ANSWERED, In.NOT_STARTED, In.UNKNOWN})
LONG = bytes(FREE_WINDOW + 20_000)
"""Longer than what goes without credit."""


class Driven:
    """One exchange, and every input as whoever causes it would give it."""

    def __init__(self) -> None:
        self.events: list[OriginEvent] = []
        self.end = wire.OriginEnd(b"o" * 16, self.events.append)
        self.origin = self.end.origin
        self.links = [self.end.link("a1", 7)]
        self.exchange = self.origin.open(wire.request(LONG), self.link.number, None)

    @property
    def link(self) -> Link:
        return self.links[-1]

    @property
    def state(self) -> S:
        return self.exchange.state

    def sent(self) -> list[Frame]:
        """All that the link has to send now."""
        return sent(self.link)

    def gives(self, given: In) -> None:
        exchange, key = self.exchange, self.exchange.key
        received = exchange.answer.received
        frames: dict[In, Frame] = {
            In.HEAD: Head(key, 200, ()),
            In.DATA: Data(key, received, b"data"),
            In.CREDIT: Credit(key, 0, FREE_WINDOW),
            In.ANSWERED: End(key, received),
            In.NOT_STARTED: End(key, 0, EndReason.BUSY),
            In.UNKNOWN: End(key, received, EndReason.FAILED),
        }
        if given in frames:
            self.origin.frame(self.link, frames[given], 0.0)
        elif given is In.OPEN_SENT:
            self.sent()
        elif given is In.END_SENT:
            self.origin.frame(self.link, Credit(key, 0, len(LONG)), 0.0)
            self.sent()
        elif given is In.LINK_GONE:
            self.origin.link_gone(self.link.number, 0.0)
        elif given is In.LINK_FOUND:
            self.links.append(self.end.link("a1", 7))
            self.sent()
        elif given is In.REVOKE:
            self.origin.revoke(exchange, 0.0)
        elif self.state is S.REVOKING:
            self.origin.tick(REVOKE_GRACE)
        else:
            self.origin.done(exchange, DoneReason.CLIENT_GONE)
        self.end.dispatch()


PATHS: dict[S, tuple[In, ...]] = {
    S.QUEUED: (),
    S.OPENING: (In.OPEN_SENT,),
    S.WAITING: (In.OPEN_SENT, In.END_SENT),
    S.ANSWERING: (In.OPEN_SENT, In.END_SENT, In.HEAD, In.DATA),
    S.CUT: (In.OPEN_SENT, In.END_SENT, In.LINK_GONE),
    S.ATTACHING: (In.OPEN_SENT, In.END_SENT, In.HEAD, In.DATA, In.LINK_GONE, In.LINK_FOUND),
    S.REVOKING: (In.OPEN_SENT, In.END_SENT, In.REVOKE),
    S.FINISHED: (In.OPEN_SENT, In.END_SENT, In.NOT_STARTED),
}


def in_state(state: S) -> Driven:
    driven = Driven()
    for given_ in PATHS[state]:
        driven.gives(given_)
    assert driven.state is state
    return driven


def possible(driven: Driven, given_: In) -> bool:
    """Whether anybody can cause this input here at all."""
    if given_ is In.LINK_GONE:
        return driven.exchange.path is not None
    if given_ is In.LINK_FOUND:
        return driven.exchange.path is None and driven.state in (S.CUT, S.REVOKING)
    if given_ in (In.OPEN_SENT, In.END_SENT):
        return (driven.state, given_) in ORIGIN
    return True


@pytest.mark.parametrize("state", S)
@pytest.mark.parametrize("given_", In)
def test_every_input_in_every_state_does_what_the_table_says(state: S, given_: In) -> None:
    driven = in_state(state)
    if not possible(driven, given_):
        return
    expected = ORIGIN.get((state, given_), state)  # frames without a link are ignored
    if (state, given_) == (S.ANSWERING, In.NOT_STARTED):
        expected = S.FINISHED  # after HEAD, nothing proves that
    if expected is None:
        with pytest.raises(RemoteError):
            driven.gives(given_)
        assert driven.state is state
    else:
        driven.gives(given_)
        assert driven.state is expected


@pytest.mark.parametrize(("state", "given_"), [key for key, to in ORIGIN.items() if to is None])
def test_a_violation_leaves_the_state_as_it_was(state: S, given_: In) -> None:
    driven = in_state(state)
    with pytest.raises(RemoteError, match=given_.value):
        driven.exchange.advance(given_)
    assert driven.state is state


@given(st.lists(st.sampled_from(In), max_size=14))
def test_any_sequence_of_inputs_follows_the_table_and_ends_with_one_outcome(inputs: list[In]) -> None:
    driven = Driven()
    for given_ in inputs:
        if not possible(driven, given_):
            continue
        state = driven.state
        if given_ in FRAMES and state is S.QUEUED:
            continue
        try:
            driven.gives(given_)
        except RemoteError:
            assert ORIGIN[state, given_] is None
            return  # the link would be closed
        if given_ in (In.ANSWERED, In.NOT_STARTED):
            continue  # whether the answer is whole, and what a refusal proves, depends on more
        assert driven.state is ORIGIN.get((state, given_), state)
    outcomes = [
        type(e).__name__
        for e in driven.events
        if type(e).__name__ in ("Answered", "NotStarted", "OutcomeUnknown")
    ]
    assert len(outcomes) <= 1
    assert driven.origin.open_exchanges == (driven.state is not S.FINISHED)


# -- what leaves -------------------------------------------------------------------------------------


def test_a_small_request_is_one_frame_behind_its_principal() -> None:
    driven = Driven()
    driven.origin.done(driven.exchange, DoneReason.CLIENT_GONE)
    exchange = driven.origin.open(wire.request(b"body"), driven.link.number, None)
    principal, opened = driven.sent()
    assert principal.type.name == "PRINCIPAL"
    assert isinstance(opened, Open)
    assert (opened.data, opened.end, opened.length, opened.epoch) == (b"body", True, 4, 7)
    assert exchange.state is S.WAITING


def test_a_long_request_stops_at_its_credit_and_goes_on_with_more() -> None:
    driven = in_state(S.OPENING)
    assert driven.exchange.sending.sent == FREE_WINDOW
    driven.origin.frame(driven.link, Credit(driven.exchange.key, 16_384, len(LONG)), 0.0)
    frames = driven.sent()
    assert [type(f) for f in frames] == [Data, Data]
    assert isinstance(frames[-1], Data)
    assert frames[-1].end
    assert frames[-1].offset + len(frames[-1].data) == len(LONG)


def test_the_request_is_repeated_from_where_the_agent_says_with_its_end() -> None:
    driven = in_state(S.CUT)
    driven.links.append(driven.end.link("a1", 7))
    assert driven.sent() == [Attach(driven.exchange.key, 1, 7, 0, FREE_WINDOW)]
    driven.origin.frame(driven.link, Credit(driven.exchange.key, 16_384, len(LONG)), 0.0)
    frames = driven.sent()
    assert [(f.offset, f.end) for f in frames if isinstance(f, Data)] == [
        (16_384 * n, n == 5) for n in range(1, 6)
    ]


def test_an_agent_that_has_every_byte_is_told_the_end_alone() -> None:
    driven = in_state(S.CUT)
    driven.gives(In.LINK_FOUND)
    driven.origin.frame(driven.link, Credit(driven.exchange.key, len(LONG), len(LONG)), 0.0)
    assert driven.sent() == [Data(driven.exchange.key, len(LONG), b"", True)]


def test_nothing_of_the_request_is_repeated_to_an_agent_that_has_answered() -> None:
    driven = in_state(S.CUT)
    driven.gives(In.LINK_FOUND)
    driven.origin.frame(driven.link, Credit(driven.exchange.key, 0, len(LONG)), 0.0)
    driven.origin.frame(driven.link, Head(driven.exchange.key, 200, ()), 0.0)
    assert not driven.sent()


def test_each_attach_counts_up_and_carries_the_credit() -> None:
    driven = in_state(S.ATTACHING)
    driven.gives(In.LINK_GONE)
    driven.links.append(driven.end.link("a1", 7))
    assert driven.sent() == [Attach(driven.exchange.key, 2, 7, 4, FREE_WINDOW)]


def test_a_revoked_exchange_is_attached_with_done_behind_it() -> None:
    driven = in_state(S.REVOKING)
    assert Done(driven.exchange.key, DoneReason.REVOKED) in driven.sent()
    driven.gives(In.LINK_GONE)
    driven.links.append(driven.end.link("a1", 7))
    key = driven.exchange.key
    assert driven.sent() == [Attach(key, 1, 7, 0, FREE_WINDOW), Done(key, DoneReason.REVOKED)]


@pytest.mark.parametrize(
    "headers",
    [(("n" * 256, "v"),), (("n", "v" * 65_536),), (("n", "v" * 60_000),) * 2, (("n", "caf\udce9"),)],
    ids=["name", "value", "together", "surrogate"],
)
def test_a_request_that_fits_no_frame_fails_its_caller_and_not_the_link(
    headers: tuple[tuple[str, str], ...],
) -> None:
    driven = in_state(S.FINISHED)
    driven.sent()
    request = wire.request(b"body")
    request.headers = headers
    with pytest.raises(LocalError):
        driven.origin.open(request, driven.link.number, None)
    assert not driven.link.pending
    assert not driven.origin.open_exchanges
    assert driven.origin.open(wire.request(), driven.link.number, None).key.seq == 2


def test_a_principal_that_fits_no_frame_fails_its_caller_and_not_the_link() -> None:
    driven = in_state(S.FINISHED)
    request = wire.request()
    request.principal = bytes(48 * 1024 + 1)
    with pytest.raises(LocalError, match="48 KiB"):
        driven.origin.open(request, driven.link.number, None)
