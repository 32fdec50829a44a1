from __future__ import annotations

import pytest

from penstock.tunnel.errors import CloseCode, LocalError, RemoteError
from penstock.tunnel.frames import (
    Credit,
    Data,
    Done,
    DoneReason,
    End,
    EndReason,
    Head,
)
from penstock.tunnel.limits import FREE_WINDOW, GRACE, MAX_WINDOW, REVOKE_GRACE
from tests.core.tunnel.scene import sent
from tests.core.tunnel.sites import OriginSite
from tests.harness import wire


@pytest.fixture
def site() -> OriginSite:
    return OriginSite()


# -- the origin's last word --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reason", [DoneReason.OK, DoneReason.CLIENT_GONE, DoneReason.DEADLINE, DoneReason.TOO_SLOW]
)
def test_done_frees_at_once_and_says_whether_it_may_have_run(site: OriginSite, reason: DoneReason) -> None:
    link = site.link()
    sent_, queued = site.call(link), site.origin.open(wire.request(), link.number, None)
    assert site.origin.done(sent_, reason)
    assert not site.origin.done(queued, reason)
    assert not site.origin.done(sent_, reason)
    assert sent(link) == [Done(sent_.key, reason)]
    assert not site.origin.open_exchanges
    assert not site.events


def test_a_half_sent_request_that_is_given_up_never_ran(site: OriginSite) -> None:
    link = site.link()
    exchange = site.call(link, bytes(FREE_WINDOW + 1))
    assert not site.origin.done(exchange, DoneReason.CLIENT_GONE)
    assert sent(link) == [Done(exchange.key, DoneReason.CLIENT_GONE)]


def test_done_takes_no_revocation(site: OriginSite) -> None:
    exchange = site.call(site.link())
    with pytest.raises(LocalError, match="revoke"):
        site.origin.done(exchange, DoneReason.REVOKED)


def test_a_revoked_exchange_is_kept_until_any_end_comes_back(site: OriginSite) -> None:
    link = site.link()
    exchange = site.call(link)
    assert site.origin.revoke(exchange, 0.0)
    assert not site.origin.revoke(exchange, 0.0)
    assert not site.origin.done(exchange, DoneReason.CLIENT_GONE)
    assert sent(link) == [Done(exchange.key, DoneReason.REVOKED)]
    site.hears(link, Head(exchange.key, 200, (), b"too late"))
    assert site.origin.open_exchanges
    site.hears(link, End(exchange.key, 0, EndReason.REVOKED))
    assert not site.origin.open_exchanges
    assert not site.events


@pytest.mark.parametrize("linked", [True, False])
def test_a_revoked_exchange_is_given_up_after_300_s_with_or_without_a_link(
    site: OriginSite, linked: bool
) -> None:
    link = site.link()
    exchange = site.call(link)
    if not linked:
        site.gone(link, 90.0)
    assert site.origin.revoke(exchange, 100.0)
    site.origin.tick(100.0 + REVOKE_GRACE - 1)
    assert site.origin.open_exchanges
    site.origin.tick(100.0 + REVOKE_GRACE)
    assert not site.origin.open_exchanges
    site.end.dispatch()
    assert not site.events


def test_a_revoked_exchange_ends_with_another_life_of_the_agent(site: OriginSite) -> None:
    link = site.link(epoch=7)
    site.origin.revoke(site.call(link), 0.0)
    site.gone(link)
    site.link(epoch=8)
    assert not site.origin.open_exchanges
    assert not site.events


def test_what_was_not_whole_is_revoked_by_forgetting_it(site: OriginSite) -> None:
    link = site.link()
    exchange = site.call(link, bytes(FREE_WINDOW + 1))
    assert not site.origin.revoke(exchange, 0.0)
    assert not site.origin.open_exchanges


# -- credit and budgets ------------------------------------------------------------------------------


def test_credit_comes_back_when_half_the_window_is_taken(site: OriginSite) -> None:
    link = site.link()
    exchange = site.call(link)
    frames = [Data(exchange.key, at, bytes(16_384)) for at in range(0, FREE_WINDOW, 16_384)]
    site.hears(link, Head(exchange.key, 200, ()), *frames)
    site.origin.taken(exchange, FREE_WINDOW // 2 - 1, 10.0)
    assert not link.pending
    site.origin.taken(exchange, 1, 20.0)
    assert sent(link) == [Credit(exchange.key, FREE_WINDOW, FREE_WINDOW * 3 // 2)]


@pytest.mark.parametrize("ending", ["answered", "failed", "done", "revoked", "given up"])
def test_budgets_are_given_back_however_an_exchange_ends(site: OriginSite, ending: str) -> None:
    link = site.link()
    exchange = site.call(link)
    site.hears(link, Head(exchange.key, 200, ()))
    received = 0
    while exchange.answer.window < MAX_WINDOW:
        while received + 16_384 <= exchange.answer.limit:
            site.hears(link, Data(exchange.key, received, bytes(16_384)))
            received += 16_384
        site.origin.taken(exchange, received - exchange.answer.taken, 0.0)
    assert site.origin._budget.left < site.origin._budget.total
    match ending:
        case "answered":
            site.hears(link, End(exchange.key, received))
        case "failed":
            site.hears(link, End(exchange.key, received, EndReason.FAILED))
        case "done":
            site.origin.done(exchange, DoneReason.TOO_SLOW)
        case "revoked":
            site.origin.revoke(exchange, 0.0)
        case _:
            site.gone(link)
            site.origin.tick(GRACE)
    for _ in range(100):
        site.origin.taken(exchange, 100_000, 0.0)  # what the caller takes afterwards changes nothing
    assert site.origin._budget.left == site.origin._budget.total
    assert all(b.left == b.total for b in site.origin._agent_budgets.values())


@pytest.mark.parametrize("reason", [EndReason.OK, EndReason.FAILED])
def test_a_budget_is_held_for_as_long_as_the_caller_still_takes(site: OriginSite, reason: EndReason) -> None:
    link = site.link()
    exchange = site.call(link)
    site.hears(link, Head(exchange.key, 200, ()))
    site.hears(link, *(Data(exchange.key, at, bytes(16_384)) for at in range(0, FREE_WINDOW, 16_384)))
    site.origin.taken(exchange, FREE_WINDOW, 0.0)
    site.hears(link, Data(exchange.key, FREE_WINDOW, bytes(16_384)))
    site.hears(link, End(exchange.key, FREE_WINDOW + 16_384, reason))
    assert not site.origin.open_exchanges
    assert site.origin._budget.left == site.origin._budget.total - FREE_WINDOW
    for _ in range(2):
        site.origin.release(exchange)
    assert site.origin._budget.left == site.origin._budget.total


def test_a_window_above_4_mib_from_the_agent_closes_the_link(site: OriginSite) -> None:
    link = site.link()
    exchange = site.call(link, bytes(FREE_WINDOW + 1))
    with pytest.raises(RemoteError) as caught:
        site.hears(link, Credit(exchange.key, 0, MAX_WINDOW + 1))
    assert caught.value.code is CloseCode.CREDIT
