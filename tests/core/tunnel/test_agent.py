from __future__ import annotations

import pytest

from penstock.tunnel.agent import digest_of
from penstock.tunnel.agent_exchange import Gone
from penstock.tunnel.errors import CloseCode, RemoteError
from penstock.tunnel.fields import Key
from penstock.tunnel.frames import (
    Attach,
    Data,
    Done,
    DoneReason,
    End,
    EndReason,
    GoAway,
    GoAwayReason,
    Lost,
    Offer,
)
from penstock.tunnel.limits import FREE_WINDOW, MAX_DATA, MAX_WINDOW, ORPHANED
from penstock.tunnel.link import Link
from penstock.tunnel.states import End as LinkEnd
from tests.core.tunnel.scene import opened, sent
from tests.core.tunnel.sites import BOOT, AgentSite, ended, key
from tests.harness import wire


@pytest.fixture
def site() -> AgentSite:
    return AgentSite()


# -- requests ----------------------------------------------------------------------------------------


def test_a_request_starts_with_its_end_and_never_before(site: AgentSite) -> None:
    link = site.link()
    site.hears(link, opened(key(1), bytes(20_000)))
    assert not site.started
    site.hears(link, Data(key(1), MAX_DATA, bytes(20_000 - MAX_DATA)))
    assert not site.started
    site.hears(link, End(key(1), 20_000))
    assert [e.body for e in site.started] == [bytes(20_000)]
    assert site.started[0].principal == wire.CONTENT


def test_an_end_at_another_length_closes_the_link(site: AgentSite) -> None:
    link = site.link()
    with pytest.raises(RemoteError) as caught:
        site.hears(link, opened(key(1), length=5))
    assert caught.value.code is CloseCode.MALFORMED


def test_a_request_that_ends_with_a_reason_closes_the_link_and_does_not_start(site: AgentSite) -> None:
    link = site.link()
    site.hears(link, opened(key(1), b"", end=False))
    with pytest.raises(RemoteError) as caught:
        site.hears(link, End(key(1), 0, EndReason.FAILED))
    assert caught.value.code is CloseCode.MALFORMED
    assert not site.started


def test_an_end_with_a_gap_before_it_is_ignored(site: AgentSite) -> None:
    link = site.link()
    site.hears(link, opened(key(1), bytes(20_000)))
    site.hears(link, Data(key(1), MAX_DATA + 10, bytes(20_000 - MAX_DATA - 10), True))
    assert not site.started
    site.hears(link, Data(key(1), 100, bytes(16_000)), Data(key(1), 16_000, bytes(4_000), True))
    assert [len(e.body) for e in site.started] == [20_000]


def test_more_than_the_length_closes_the_link(site: AgentSite) -> None:
    link = site.link()
    with pytest.raises(RemoteError) as caught:
        site.hears(link, opened(key(1), b"four", length=3))
    assert caught.value.code is CloseCode.CREDIT


def test_an_answer_window_above_4_mib_closes_the_link(site: AgentSite) -> None:
    link = site.link()
    with pytest.raises(RemoteError) as caught:
        site.hears(link, opened(key(1), limit=MAX_WINDOW + 1))
    assert caught.value.code is CloseCode.CREDIT


def test_open_for_a_key_that_is_held_closes_the_link(site: AgentSite) -> None:
    link = site.link()
    site.hears(link, opened(key(1)))
    with pytest.raises(RemoteError) as caught:
        site.hears(link, opened(key(1)))
    assert caught.value.code is CloseCode.WRONG_STATE
    assert len(site.started) == 1


def test_a_frame_that_names_a_link_is_for_replicas_only(site: AgentSite) -> None:
    link = site.link()
    with pytest.raises(RemoteError) as caught:
        site.agent.receive(link, Done(key(1), DoneReason.OK).encode(4), 0.0)
    assert caught.value.code is CloseCode.MALFORMED


def test_goaway_is_for_whoever_dials(site: AgentSite) -> None:
    frame = GoAway(GoAwayReason.RESTART, 5)
    assert site.agent.receive(site.link(), frame.encode(), 0.0) == [frame]


# -- offers ------------------------------------------------------------------------------------------


def test_every_link_is_told_of_other_servers(site: AgentSite) -> None:
    links = [site.link(), site.link()]
    site.agent.offer(["git", "files"])
    digest, names = digest_of(["files", "git"])
    assert names == ("files", "git")
    assert [sent(link) for link in links] == [[Offer(digest, names)]] * 2


def test_no_link_is_told_of_the_same_servers_again(site: AgentSite) -> None:
    link = site.link()
    site.agent.offer(["files"])
    assert sent(link) == []


def test_servers_that_changed_between_hello_and_welcome_are_offered_then(site: AgentSite) -> None:
    link = Link(LinkEnd.AGENT, 9, 0.0)
    link.greet(wire.hello("a1", 7))
    link.take(0.0)
    link.greeted = lambda link, _: site.agent.link_up(link)
    site.agent.offer(["files", "git"])
    site.agent.receive(link, wire.welcome(BOOT).encode(), 0.0)
    assert sent(link) == [Offer(*digest_of(["files", "git"]))]


# -- links that go -----------------------------------------------------------------------------------


def test_a_link_that_was_never_greeted_is_nobodys(site: AgentSite) -> None:
    link = site.link()
    site.hears(link, opened(key(1)))
    site.agent.link_gone(link.number, 0.0)
    for now in range(1, 200):
        site.agent.link_gone(1000 + now, float(now))  # dialling failed, again and again
    assert site.agent.due == ORPHANED
    site.agent.tick(ORPHANED)
    assert not site.agent.open_exchanges


def test_an_attached_exchange_is_not_freed_and_a_later_cut_counts_anew(site: AgentSite) -> None:
    first = site.link()
    site.hears(first, opened(key(1)))
    site.agent.link_gone(first.number, 0.0)
    second = site.link()
    site.hears(second, Attach(key(1), 1, 7, 0, FREE_WINDOW))
    site.agent.tick(ORPHANED)
    assert site.agent.open_exchanges
    site.agent.link_gone(second.number, 130.0)
    site.agent.tick(130.0 + ORPHANED - 1)
    assert site.agent.open_exchanges
    site.agent.tick(130.0 + ORPHANED)
    site.end.dispatch()
    assert isinstance(site.events[-1], Gone)
    assert site.events[-1].reason is None


def test_half_a_request_that_is_freed_leaves_no_mark(site: AgentSite) -> None:
    link = site.link()
    site.hears(link, opened(key(1), bytes(20_000)))
    site.agent.link_gone(link.number, 0.0)
    site.agent.tick(ORPHANED)
    assert not site.agent.open_exchanges
    assert site.hears(site.link(), Attach(key(1), 1, 7, 0, FREE_WINDOW)) == ended(1, EndReason.UNKNOWN)


def test_lost_is_for_the_exchanges_of_that_boot_on_that_link(site: AgentSite) -> None:
    one, two = site.link(), site.link()
    other = Key(b"x" * 16, 1)
    site.hears(one, opened(key(1)), opened(other))
    site.hears(two, opened(key(2)))
    site.hears(one, Lost(BOOT))
    held = {k: e.link for k, e in site.agent._held.items()}
    assert held == {key(1): None, other: one, key(2): two}


def test_many_exchanges_are_freed_at_once() -> None:
    site = AgentSite(max_exchanges=3000)
    link = site.link()
    for seq in range(1, 3001):
        site.hears(link, opened(key(seq)))
    site.agent.link_gone(link.number, 0.0)
    site.agent.tick(ORPHANED)
    assert not site.agent.open_exchanges


# -- attach ------------------------------------------------------------------------------------------


def test_attach_of_a_key_that_is_not_held_fences_it_and_all_below(site: AgentSite) -> None:
    link = site.link()
    assert site.hears(link, Attach(key(5), 1, 7, 0, FREE_WINDOW)) == ended(5, EndReason.UNKNOWN)
    assert site.hears(link, opened(key(5))) == ended(5, EndReason.STALE)
    assert site.hears(link, opened(key(4))) == ended(4, EndReason.STALE)
    assert not site.hears(link, opened(key(6)))
    assert not site.hears(link, opened(Key(b"x" * 16, 1)))
    assert [e.exchange.key.seq for e in site.started] == [6, 1]


def test_attach_for_another_epoch_raises_no_floor(site: AgentSite) -> None:
    link = site.link()
    assert site.hears(link, Attach(key(5), 1, 8, 0, FREE_WINDOW)) == ended(5, EndReason.WRONG_EPOCH)
    assert not site.hears(link, opened(key(5)))


@pytest.mark.parametrize(("have", "limit"), [(1, FREE_WINDOW), (0, MAX_WINDOW + 1)])
def test_an_attach_with_credit_that_cannot_be_true_closes_the_link(
    site: AgentSite, have: int, limit: int
) -> None:
    link = site.link()
    site.hears(link, opened(key(1)))
    with pytest.raises(RemoteError) as caught:
        site.hears(link, Attach(key(1), 1, 7, have, limit))
    assert caught.value.code is CloseCode.CREDIT


# -- done --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", DoneReason)
def test_done_frees_and_only_a_revocation_is_answered(site: AgentSite, reason: DoneReason) -> None:
    link = site.link()
    site.hears(link, opened(key(1)))
    answer = site.hears(link, Done(key(1), reason))
    assert answer == (ended(1, EndReason.REVOKED) if reason is DoneReason.REVOKED else [])
    assert site.events[-1] == Gone(site.started[0].exchange, reason)
    assert not site.agent.open_exchanges
