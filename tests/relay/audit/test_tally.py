"""How fast others can make the log grow, and that nothing counted is lost."""

from __future__ import annotations

from penstock_relay import audit
from penstock_relay.audit import STRANGER, Kind, Tally, event
from penstock_relay.audit.tally import AT_ONCE, MOST, Counted


def records(tally: Tally) -> list[tuple[str, dict[str, object]]]:
    return [(counted.what.kind.text, dict(counted.event().about())) for counted in tally.take()]


def test_what_is_alike_becomes_one_record_with_its_count_and_its_beginning() -> None:
    tally = Tally()
    for second in range(1000):
        tally.count(STRANGER, event(Kind.LOGIN_FAILED, user="alice"), 100.0 + second)
    tally.count(STRANGER, event(Kind.LOGIN_FAILED), 200.0)
    assert records(tally) == [
        ("login_failed", {"user": "alice", "count": 1000, "first_at": "1970-01-01T00:01:40.000Z"}),
        ("login_failed", {"count": 1, "first_at": "1970-01-01T00:03:20.000Z"}),
    ]
    assert records(tally) == []


def test_a_stranger_who_varies_what_he_does_makes_no_more_records_than_the_most() -> None:
    tally = Tally()
    for number in range(10_000):
        tally.count(STRANGER, event(Kind.ENROLMENT_REFUSED, reason=f"r{number}"), 1.0)
        tally.count(STRANGER, event(Kind.LOGIN_FAILED, user=f"u{number}"), 1.0)
    found = records(tally)
    assert len(found) <= MOST + 2
    assert sum(int(str(about["count"])) for _, about in found) == 20_000
    assert sum("user" not in about and "reason" not in about for _, about in found) == 2


def test_a_known_actor_s_first_are_written_at_once_and_the_rest_counted() -> None:
    tally = Tally()
    alice, bob = audit.user("alice"), audit.user("bob")
    assert [tally.often(alice, Kind.LOGIN) for _ in range(AT_ONCE + 2)] == [False] * AT_ONCE + [True, True]
    assert not tally.often(bob, Kind.LOGIN)
    assert not tally.often(alice, Kind.LOGOUT)
    tally.take()  # a minute later
    assert not tally.often(alice, Kind.LOGIN)


def test_different_actors_are_counted_apart() -> None:
    tally = Tally()
    for name in ("alice", "bob", "alice"):
        tally.count(audit.user(name), event(Kind.LOGOUT), 1.0)
    assert [(dict(c.actor.about)["name"], c.times) for c in tally.take()] == [("alice", 2), ("bob", 1)]


def test_what_could_not_be_written_is_counted_with_what_came_meanwhile() -> None:
    tally = Tally()
    tally.count(STRANGER, event(Kind.LOGIN_FAILED, user="alice"), 5.0)
    tally.count(STRANGER, event(Kind.LOGIN_FAILED), 6.0)
    taken = tally.take()
    tally.count(STRANGER, event(Kind.LOGIN_FAILED, user="alice"), 7.0)
    tally.give_back(taken)
    assert records(tally) == [
        ("login_failed", {"user": "alice", "count": 2, "first_at": "1970-01-01T00:00:05.000Z"}),
        ("login_failed", {"count": 1, "first_at": "1970-01-01T00:00:06.000Z"}),
    ]


def test_what_is_given_back_again_and_again_stays_within_the_most() -> None:
    tally, taken = Tally(), list[Counted]()
    for minute in range(50):
        taken = tally.take()
        for number in range(MOST):
            tally.count(STRANGER, event(Kind.LOGIN_FAILED, user=f"u{minute}-{number}"), 1.0)
        tally.give_back(taken)
    assert len(taken) <= MOST + 1
    assert sum(counted.times for counted in tally.take()) == 50 * MOST
