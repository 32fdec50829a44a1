from __future__ import annotations

from penstock_relay.oauth.limits import ALL_LOGINS, LOGINS, Limits
from penstock_relay.oauth.throttle import MAX_FAILURES, WINDOW_S
from penstock_relay.oauth.tries import MAX_STRANGERS, Tries
from penstock_relay.oauth.web import Peer

NOW = 1_800_000_000.0
ANYBODY = Peer("127.0.0.1", shared=True)


def at(number: int) -> Peer:
    return Peer(f"198.51.100.{number}", shared=False)


def guess(tries: Tries, name: str, peer: Peer, device: str | None = None, most: int = 200) -> int:
    """How many wrong passwords may be tried."""
    return next((count for count in range(most) if not tries.begin(name, device, peer, NOW)), most)


def test_one_address_tries_a_name_a_few_times_and_others_still_may() -> None:
    tries = Tries(Limits())
    assert guess(tries, "alice", at(1)) == MAX_FAILURES
    assert tries.begin("bob", None, at(1), NOW)
    assert tries.begin("alice", None, at(2), NOW)
    assert tries.begin("alice", None, at(1), NOW + WINDOW_S)


def test_many_addresses_together_have_a_bound_for_a_name() -> None:
    tries = Tries(Limits())
    assert sum(guess(tries, "alice", at(number)) for number in range(20)) == MAX_STRANGERS
    assert tries.begin("bob", None, at(30), NOW)


def test_one_address_has_a_bound_for_all_names() -> None:
    tries = Tries(Limits())
    assert sum(tries.begin(f"user{number}", None, at(1), NOW) for number in range(200)) == LOGINS.burst
    assert tries.begin("alice", None, at(2), NOW)


def test_where_addresses_are_not_known_a_name_has_few_tries() -> None:
    tries = Tries(Limits())
    assert guess(tries, "alice", ANYBODY) == MAX_FAILURES
    assert tries.begin("bob", None, ANYBODY, NOW)


def test_a_device_where_the_user_has_been_is_locked_by_nobody_else() -> None:
    tries = Tries(Limits())
    for number in range(20):
        guess(tries, "alice", at(number))
    guess(tries, "alice", ANYBODY)
    for number in range(ALL_LOGINS.burst):
        tries.begin(f"user{number}", None, ANYBODY, NOW)
    assert not tries.begin("bob", None, at(99), NOW)
    assert tries.begin("alice", "d" * 43, at(1), NOW)
    assert guess(tries, "alice", ANYBODY, "d" * 43) == MAX_FAILURES - 1
    assert tries.begin("alice", "e" * 43, ANYBODY, NOW)


def test_who_succeeds_has_all_tries_again_and_spent_none_of_his_address() -> None:
    tries = Tries(Limits())
    for _ in range(LOGINS.burst * 2):
        assert tries.begin("alice", None, at(1), NOW)
        tries.succeeded("alice", None, at(1))
    for _ in range(MAX_FAILURES * 2):
        assert tries.begin("alice", "d" * 43, at(1), NOW)
        tries.succeeded("alice", "d" * 43, at(1))


def test_a_login_on_a_device_gives_strangers_nothing_back() -> None:
    tries = Tries(Limits())
    guess(tries, "alice", at(1))
    assert tries.begin("alice", "d" * 43, at(1), NOW)
    tries.succeeded("alice", "d" * 43, at(1))
    assert not tries.begin("alice", None, at(1), NOW)
