"""Where users of this relay's own come in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from penstock_relay.oauth.entrance import Entrance
from penstock_relay.oauth.limits import Limits
from penstock_relay.oauth.throttle import MAX_FAILURES
from penstock_relay.oauth.tokens import Seal
from penstock_relay.oauth.tries import Tries
from penstock_relay.oauth.visit import Visits
from penstock_relay.oauth.web import Asked, Peer
from penstock_relay.store import Factor, Store, User
from tests.relay.oauth.visiting import ORIGIN, Place, place

ASKED = Asked("POST", "/oauth/login", "", peer=Peer("198.51.100.1", shared=False))


def entrance(here: Place) -> Entrance:
    visits = Visits(here.store, ORIGIN, Seal(b"k" * 32), lambda _: True)
    return Entrance(here.store, visits, Tries(Limits()))


async def alice(store: Store) -> User:
    user = await store.users.find("alice")
    assert user is not None
    return user


async def test_who_is_in_has_cookies_a_record_and_all_tries_again(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        door, user = entrance(here), await alice(here.store)
        for _ in range(MAX_FAILURES):
            assert door.tries.begin("alice", None, ASKED.peer, here.now)
        assert not door.tries.begin("alice", None, ASKED.peer, here.now)
        entered = await door.enter(ASKED, user, "password", here.now)
        assert entered is not None
        assert [value.partition("=")[0] for _, value in entered] == [
            "__Host-penstock-browser", "__Host-penstock-login", "__Host-penstock-device",
        ]  # fmt: skip
        assert door.tries.begin("alice", None, ASKED.peer, here.now)
        last = [entry.values() async for entry in here.store.audit.entries()][-1]
        assert (last["kind"], last["actor"]["name"], last["about"]) == (
            "login", "alice", {"method": "password"},
        )  # fmt: skip


async def test_who_has_another_password_meanwhile_is_not_in_and_gets_no_try_back(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        door, user = entrance(here), await alice(here.store)
        for _ in range(MAX_FAILURES):
            door.tries.begin("alice", None, ASKED.peer, here.now)
        assert await door.enter(ASKED, replace(user, password_hash="$old"), "password", here.now) is None
        assert not door.tries.begin("alice", None, ASKED.peer, here.now)


async def test_a_password_alone_lets_nobody_in_who_has_a_second_factor(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        door, user = entrance(here), await alice(here.store)
        factor = Factor("alice", b"secret", here.now, 7)
        assert await here.store.factors.add(factor, [b"r" * 32], password_hash=user.password_hash)
        assert await door.enter(ASKED, user, "password", here.now, alone=True) is None
        assert await door.enter(ASKED, user, "password_and_code", here.now) is not None
