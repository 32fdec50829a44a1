"""Who is admitted: each grant is judged once, and believed until it ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.jwk import KeySet
from penstock.jwks import KeysUnavailable
from penstock_agent.callers import callers
from penstock_agent.callers.callers import Callers
from penstock_agent.callers.trust import Anyone, NotProven
from tests.agent.callers.vouching import ALICE, CHALLENGES, NOW, PROVIDER, SERVER, SITE, key_set, vouched


class Pinned:
    """Keys that count how often they are asked for."""

    def __init__(self) -> None:
        self.asked = 0
        self.there = True

    async def of(self, token: str) -> KeySet:
        self.asked += 1
        if not self.there:
            raise KeysUnavailable
        return key_set()

    async def run(self) -> None:
        return None


class Place:
    def __init__(self) -> None:
        self.now = NOW
        self.keys = Pinned()
        self.callers = Callers(SITE, {SERVER}, CHALLENGES, PROVIDER, self.keys, clock=lambda: self.now)


async def test_a_grant_is_judged_once() -> None:
    here = Place()
    caller = vouched()
    for _ in range(3):
        await here.callers.admit(SERVER, caller)
    assert here.keys.asked == 1


async def test_it_is_believed_until_it_ends_though_the_login_has_expired() -> None:
    here = Place()
    caller = vouched()
    here.now += PROVIDER.max_life - 60
    await here.callers.admit(SERVER, caller)
    here.now += 60
    with pytest.raises(NotProven, match="has ended"):
        await here.callers.admit(SERVER, caller)


async def test_a_changed_grant_is_another_one() -> None:
    here = Place()
    caller = vouched()
    await here.callers.admit(SERVER, caller)
    with pytest.raises(NotProven):
        await here.callers.admit(SERVER, replace(caller, allowance=None))


async def test_what_did_not_come_from_here_makes_nobody_fetch_keys() -> None:
    here = Place()
    for caller in (ALICE, replace(ALICE, proof=b"junk"), vouched(challenge="x" * 54)):
        with pytest.raises(NotProven):
            await here.callers.admit(SERVER, caller)
    assert not here.keys.asked


async def test_without_keys_nobody_is_admitted_and_the_next_try_asks_again() -> None:
    here = Place()
    here.keys.there = False
    with pytest.raises(NotProven, match="Try again in a minute"):
        await here.callers.admit(SERVER, vouched())
    here.keys.there = True
    await here.callers.admit(SERVER, vouched())


async def test_other_servers_believe_the_relay() -> None:
    here = Place()
    await here.callers.admit("git", ALICE)
    assert here.callers.challenge("git") is None
    challenge = here.callers.challenge(SERVER)
    assert challenge is not None
    assert CHALLENGES.made_at(challenge, SERVER) == NOW


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "MAX_BELIEVED", 2)
    here = Place()
    several = [vouched() for _ in range(3)]
    for caller in several:
        await here.callers.admit(SERVER, caller)
    await here.callers.admit(SERVER, several[2])
    assert here.keys.asked == 3
    await here.callers.admit(SERVER, several[0])
    assert here.keys.asked == 4


async def test_a_site_that_believes_its_relay_asks_nothing() -> None:
    anyone = Anyone()
    await anyone.admit(SERVER, ALICE)
    assert anyone.challenge(SERVER) is None
    await anyone.run()
