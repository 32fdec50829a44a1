from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock_relay.oauth.buckets import MAX_KNOWN, WIDER, Buckets, Rate, networks
from penstock_relay.oauth.web import Peer

NOW = 1_800_000_000.0
EACH = Rate(10, 36)  # one more in 100 s


def at(number: int) -> Peer:
    return Peer(f"192.0.{number >> 8}.{number & 255}", shared=False)


def six(site: int, net: int, host: int = 1) -> Peer:
    return Peer(f"2001:db8:{site:x}:{net:x}::{host:x}", shared=False)


def spend(buckets: Buckets, peer: Peer, now: float = NOW) -> int:
    """How many may be taken at once."""
    for count in range(10_000):
        if buckets.take(peer, now):
            return count
    raise AssertionError("there is no bound")


def test_so_many_at_once_and_then_one_after_the_other() -> None:
    buckets = Buckets(EACH, None)
    assert spend(buckets, at(1)) == 10
    assert buckets.take(at(1), NOW) == 100
    assert buckets.take(at(1), NOW + 40) == 60  # what was refused cost nothing
    assert buckets.take(at(1), NOW + 100) == 0
    assert buckets.take(at(1), NOW + 100) == 100
    assert spend(buckets, at(1), NOW + 1100) == 10


def test_one_address_does_not_spend_what_is_another_s() -> None:
    buckets = Buckets(EACH, None)
    spend(buckets, at(1))
    assert spend(buckets, at(2)) == 10


def test_all_together_have_a_larger_bound_that_one_alone_cannot_reach() -> None:
    buckets = Buckets(EACH, Rate(25, 36))
    assert spend(buckets, at(1)) == 10
    for _ in range(100):
        assert buckets.take(at(1), NOW) > 0
    assert spend(buckets, at(2)) == 10
    assert spend(buckets, at(3)) == 5
    assert buckets.take(at(3), NOW) == 100
    assert spend(buckets, at(3), NOW + 500) == 5  # what all together refused cost an address nothing


def test_where_addresses_stand_for_many_only_all_together_are_bound() -> None:
    buckets = Buckets(EACH, Rate(25, 36))
    assert spend(buckets, Peer("127.0.0.1", shared=True)) == 25
    assert not Buckets(EACH, None).take(Peer(), NOW)


def test_what_is_given_back_was_never_taken() -> None:
    buckets = Buckets(EACH, Rate(10, 36))
    for _ in range(50):
        assert buckets.take(at(1), NOW) == 0
        buckets.give_back(at(1))
    assert spend(buckets, at(1)) == 10
    Buckets(EACH, None).give_back(at(2))  # forgotten meanwhile


def test_asking_how_long_costs_nothing() -> None:
    buckets = Buckets(EACH, None)
    for _ in range(50):
        assert buckets.wait(at(1), NOW) == 0
    spend(buckets, at(1))
    assert buckets.wait(at(1), NOW) == 100


def test_an_address_of_ipv6_is_its_network_and_a_site_with_many_networks_is_one_too() -> None:
    buckets = Buckets(EACH, None)
    assert spend(buckets, six(1, 1)) == 10
    assert spend(buckets, six(1, 1, host=0xFFFF)) == 0
    assert sum(spend(buckets, six(1, net)) for net in range(2, 50)) == 10 * (WIDER - 1)
    assert spend(buckets, six(2, 1)) == 10
    assert networks("192.0.2.1") == ("192.0.2.1",)
    assert networks("2001:db8:1:2:3::4") == ("2001:db8:1:2::/64", "2001:db8:1::/48")


def test_memory_is_bounded_and_nobody_gets_a_new_share_by_filling_it() -> None:
    buckets = Buckets(EACH, None)
    spend(buckets, at(0))
    for number in range(1, MAX_KNOWN + 500):
        assert buckets.take(at(number), NOW) == 0
    assert len(buckets._full_at) == MAX_KNOWN
    assert buckets.take(at(0), NOW) == 100


def test_what_is_full_again_makes_room_first() -> None:
    buckets = Buckets(EACH, None, most=3)
    for number in range(3):
        buckets.take(at(number), NOW)
    spend(buckets, at(9), NOW + 100)
    assert list(buckets._full_at) == ["192.0.0.9"]


@given(st.lists(st.floats(0, 500), max_size=60))
def test_never_more_than_the_burst_and_what_time_has_brought(gaps: list[float]) -> None:
    buckets, now, taken = Buckets(EACH, None), NOW, 0
    for gap in gaps:
        now += gap
        taken += buckets.take(at(1), now) == 0
        assert taken <= EACH.burst + (now - NOW) / EACH.interval + 0.01
