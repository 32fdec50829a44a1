"""The endpoint's view of an exchange agrees with the wire."""

from __future__ import annotations

from penstock.tunnel import frames
from penstock_agent.exchange import DoneReason, ExchangeGone
from tests.harness.fake_exchange import FakeExchange


def test_the_reasons_are_those_of_the_wire_and_one_that_never_travels() -> None:
    wire = {reason.name: int(reason) for reason in frames.DoneReason}
    ours = {reason.name: int(reason) for reason in DoneReason}
    assert ours == {**wire, "ORIGIN_LOST": 255}


def test_the_error_says_why_the_caller_is_gone() -> None:
    assert str(ExchangeGone(DoneReason.TOO_SLOW)) == "the caller is gone (too_slow)"


def test_the_fake_is_one() -> None:
    from penstock_agent.exchange import Exchange

    exchange: Exchange = FakeExchange("files")
    assert exchange.server == "files"
