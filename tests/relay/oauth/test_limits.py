from __future__ import annotations

import ipaddress
from collections.abc import Callable

from penstock_relay.oauth.limits import (
    ALL_DOCUMENTS,
    ALL_LOGINS,
    ALL_REGISTRATIONS,
    ASSISTANTS_REGISTRATIONS,
    DOCUMENTS,
    LOGINS,
    REFUSALS,
    REGISTRATIONS,
    Limits,
)
from penstock_relay.oauth.web import Peer

NOW = 1_800_000_000.0
ME, OTHER = Peer("198.51.100.1", shared=False), Peer("198.51.100.2", shared=False)
CLAUDE, ALSO_CLAUDE = Peer("160.79.104.1", shared=False), Peer("160.79.105.1", shared=False)
ANYBODY = Peer("127.0.0.1", shared=True)
ASSISTANTS = (ipaddress.ip_network("160.79.104.0/21"),)


def spend(take: Callable[[Peer, float], int], peer: Peer) -> int:
    for count in range(100_000):
        if take(peer, NOW):
            return count
    raise AssertionError("there is no bound")


def test_a_stranger_who_registers_too_often_stops_nobody_else() -> None:
    limits = Limits(ASSISTANTS)
    assert spend(limits.register, ME) == REGISTRATIONS.burst
    assert limits.register(ME, NOW) == 180
    assert limits.register(OTHER, NOW) == 0
    assert spend(limits.register, ANYBODY) == ALL_REGISTRATIONS.burst - REGISTRATIONS.burst - 1


def test_the_many_users_behind_an_assistants_address_have_a_bound_of_their_own() -> None:
    limits = Limits(ASSISTANTS)
    spend(limits.register, ANYBODY)  # whatever strangers do
    assert spend(limits.register, CLAUDE) == ASSISTANTS_REGISTRATIONS.burst
    assert limits.register(ALSO_CLAUDE, NOW) > 0
    assert limits.register(OTHER, NOW) > 0


def test_documents_and_logins_have_a_bound_for_one_and_for_all() -> None:
    limits = Limits()
    assert spend(limits.fetch, ME) == DOCUMENTS.burst
    assert spend(limits.fetch, ANYBODY) == ALL_DOCUMENTS.burst - DOCUMENTS.burst
    assert spend(limits.log_in, ME) == LOGINS.burst
    assert spend(limits.log_in, ANYBODY) == ALL_LOGINS.burst - LOGINS.burst


def test_who_logs_in_has_spent_nothing() -> None:
    limits = Limits()
    for _ in range(LOGINS.burst * 2):
        assert limits.log_in(ME, NOW) == 0
        limits.logged_in(ME)


def test_the_token_endpoint_stops_listening_to_one_who_is_refused_too_often() -> None:
    limits = Limits(ASSISTANTS)
    for peer in (ME, CLAUDE, ANYBODY):
        for _ in range(REFUSALS.burst):
            assert limits.refusing(peer, NOW) == 0
            limits.refused(peer, NOW)
    assert limits.refusing(ME, NOW) == 6
    for peer in (OTHER, CLAUDE, ANYBODY):  # whose address is many users' is not stopped for one of them
        assert limits.refusing(peer, NOW) == 0
