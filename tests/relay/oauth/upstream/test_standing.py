"""Whether users may still be here: asked about when it is due, and by one at a time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from penstock_relay.oauth.upstream import standing
from penstock_relay.oauth.upstream.standing import CHECK_S, Rules, Standing, Standings
from penstock_relay.store import GroupMembership, User
from tests.relay.oauth.upstream.company import Company, Employee, Site, connected, site
from tests.relay.oauth.visiting import Browser, query

HOUR = 3600.0
ISSUER = "https://sso.example"


@pytest.mark.parametrize(
    ("user", "rules", "accepted"),
    [
        (User("a", "", "hash", 1.0), Rules(), True),
        (User("a", "", None, 1.0), Rules(), False),
        (User("a", "", "hash", 1.0, 2.0), Rules(), False),
        (User("a", "", "hash", 1.0), Rules(local_accounts=False, issuer=ISSUER), False),
        (User("a", "", None, 1.0, None, ISSUER, "s"), Rules(issuer=ISSUER), True),
        (User("a", "", None, 1.0, None, ISSUER, "s"), Rules(local_accounts=False, issuer=ISSUER), True),
        (User("a", "", None, 1.0, None, ISSUER, "s"), Rules(), False),
        (User("a", "", None, 1.0, None, ISSUER, "s"), Rules(issuer="https://other.example"), False),
        (User("a", "", None, 1.0, 2.0, ISSUER, "s"), Rules(issuer=ISSUER), False),
    ],
)
def test_whose_accounts_count(user: User, rules: Rules, accepted: bool) -> None:
    assert rules.accepts(user) is accepted


LOCAL, THEIRS = User("a", "", "hash", 1.0), User("a", "", None, 1.0, None, ISSUER, "s")


@pytest.mark.parametrize(
    ("user", "rules", "enters"),
    [
        (LOCAL, Rules(), True),
        (LOCAL, Rules(factor=True), False),
        (replace(LOCAL, factor=True), Rules(factor=True), True),
        (replace(LOCAL, factor=True, disabled_at=2.0), Rules(factor=True), False),
        (THEIRS, Rules(issuer=ISSUER, factor=True), True),
        (THEIRS, Rules(factor=True), False),
    ],
)
def test_who_may_be_logged_in_and_whose_applications_go_on(user: User, rules: Rules, enters: bool) -> None:
    assert rules.enters(user) is enters
    assert rules.accepts(user) is (enters or user == LOCAL)


def asked(here: Site) -> int:
    """How often the provider was asked about somebody by a refresh token."""
    return sum(form.get("grant_type") == "refresh_token" for _, _, form, _ in here.company.asked)


async def renew(here: Site, found: dict[str, str]) -> int:
    """The status of a refresh; `found` has the newer tokens after it."""
    status, answer = await here.refresh(found["refresh_token"])
    if status == 200:
        found.update(answer)
    return status


async def test_without_a_refresh_token_the_user_logs_in_again_after_twelve_hours(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        _, found = await connected(here)
        here.wait(12 * HOUR - 1)
        assert await renew(here, found) == 200
        here.wait(1)
        status, answer = await here.refresh(found["refresh_token"])
        assert (status, answer["error"]) == (400, "invalid_grant")
        assert "log in again" in answer["error_description"]
        # The grant has not ended: once its user has logged in, it goes on.
        await Employee(here).log_in_there()
        assert await renew(here, found) == 200
        assert asked(here) == 0


async def test_max_age_is_a_setting(tmp_path: Path) -> None:
    async with site(tmp_path, max_age="10m") as here:
        _, found = await connected(here)
        here.wait(599)
        assert await renew(here, found) == 200
        here.wait(1)
        assert await renew(here, found) == 400


async def test_with_a_refresh_token_the_provider_is_asked_quietly(tmp_path: Path) -> None:
    async with site(tmp_path, Company(offline=True)) as here:
        name, found = await connected(here)
        here.wait(6 * HOUR - 1)
        assert await renew(here, found) == 200
        assert asked(here) == 0
        here.company.people["anna"] = {"name": "Anna Dahl", "groups": ["ops"]}
        here.wait(1)
        assert await renew(here, found) == 200
        assert asked(here) == 1
        account = await here.store.people.find(name)
        assert account is not None
        assert (account.checked_at, account.user.full_name) == (here.now, "Anna Dahl")
        assert await here.store.people.groups(name) == ("ops",)
        for _ in range(5):  # for days, with the tokens that the provider puts in the place of the used ones
            here.wait(11 * HOUR)
            assert await renew(here, found) == 200
        assert asked(here) == 6


async def test_what_is_kept_of_the_provider_s_token_cannot_be_read(tmp_path: Path) -> None:
    async with site(tmp_path, Company(offline=True)) as here:
        await connected(here)
        assert list(here.company._refresh)
        kept = b"".join(path.read_bytes() for path in tmp_path.glob("relay.db*"))
        assert not any(token.encode() in kept for token in here.company._refresh)


async def test_who_is_gone_there_is_out_here_at_the_next_refresh(tmp_path: Path) -> None:
    async with site(tmp_path, Company(offline=True)) as here:
        _, found = await connected(here)
        del here.company.people["anna"]
        here.wait(6 * HOUR)
        assert await renew(here, found) == 400
        # Not for that once only, though what was said before is not twelve hours old.
        assert await renew(here, found) == 400
        assert asked(here) == 1


async def test_who_lost_the_group_there_lost_the_access_here(tmp_path: Path) -> None:
    async with site(tmp_path, Company(offline=True)) as here:
        await here.store.memberships.add(GroupMembership("staff", "oslo", None, here.now))
        browser = Employee(here)
        await browser.log_in_there(query())
        await browser.submit(decision="allow")
        _, found = await here.redeem(browser.answer["code"])
        here.company.people["anna"]["groups"] = []
        here.wait(6 * HOUR)
        assert await renew(here, found) == 400
        here.company.people["anna"]["groups"] = ["staff"]
        await Employee(here).log_in_there()
        assert await renew(here, found) == 200


async def test_a_provider_that_is_silent_costs_nothing_until_twelve_hours_are_over(tmp_path: Path) -> None:
    async with site(tmp_path, Company(offline=True)) as here:
        _, found = await connected(here)
        here.company.down = True
        here.wait(11 * HOUR)
        assert await renew(here, found) == 200
        here.wait(HOUR)
        status, answer = await here.refresh(found["refresh_token"])
        assert (status, answer["error"]) == (503, "temporarily_unavailable")
        here.company.down = False
        here.wait(60)
        assert await renew(here, found) == 200


async def test_many_refreshes_at_once_ask_the_provider_once(tmp_path: Path) -> None:
    async with site(tmp_path, Company(offline=True)) as here:
        name, _ = await connected(here)
        here.wait(7 * HOUR)
        standings = of(here)
        found = await asyncio.gather(*(standings.of(name, here.now) for _ in range(10)))
        assert set(found) == {Standing.GOOD}
        assert asked(here) == 1
        assert not standings._under_way


async def test_two_replicas_do_not_use_one_token_of_the_provider_twice(tmp_path: Path) -> None:
    async with site(tmp_path, Company(offline=True)) as here:
        name, _ = await connected(here)
        here.wait(7 * HOUR)
        # Another replica is at it.
        assert await here.store.people.begin_check(name, here.now, here.now + CHECK_S)
        assert await of(here).of(name, here.now) is Standing.GOOD
        here.wait(5 * HOUR)
        assert await here.store.people.begin_check(name, here.now, here.now + CHECK_S)
        assert await of(here).of(name, here.now) is Standing.UNKNOWN
        assert asked(here) == 0
        # It never came to an end.
        here.wait(CHECK_S)
        assert await of(here).of(name, here.now) is Standing.GOOD
        assert asked(here) == 1


async def test_a_client_that_goes_away_loses_nothing(tmp_path: Path) -> None:
    async with site(tmp_path, Company(offline=True)) as here:
        name, _ = await connected(here)
        here.wait(7 * HOUR)
        standings, usual, asking = of(here), here.company.send, asyncio.Event()
        go_on = asyncio.Event()

        async def slow(method: str, url: str, **more: Any) -> tuple[int, bytes]:
            asking.set()
            await go_on.wait()
            return await usual(method, url, **more)

        here.company.send = slow  # type: ignore[method-assign]
        async with asyncio.TaskGroup() as tasks:
            gone = tasks.create_task(standings.of(name, here.now))
            await asking.wait()
            gone.cancel()
            later = tasks.create_task(standings.of(name, here.now))
            await asyncio.sleep(0)
            go_on.set()
        assert later.result() is Standing.GOOD
        assert asked(here) == 1
        here.wait(7 * HOUR)
        assert await standings.of(name, here.now) is Standing.GOOD


async def test_only_so_many_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with site(tmp_path, Company(offline=True)) as here:
        name, _ = await connected(here)
        monkeypatch.setattr(standing, "MAX_WAITING", 0)
        here.wait(7 * HOUR)
        assert await of(here).of(name, here.now) is Standing.GOOD
        here.wait(5 * HOUR)
        assert await of(here).of(name, here.now) is Standing.UNKNOWN
        assert asked(here) == 0


async def test_a_store_that_fails_meanwhile_leaves_it_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site(tmp_path, Company(offline=True)) as here:
        name, _ = await connected(here)
        here.wait(7 * HOUR)

        async def failing(*_: object) -> bool:
            raise OperationalError("", {}, Exception())

        with monkeypatch.context() as broken:
            broken.setattr(here.store.people, "begin_check", failing)
            assert await of(here).of(name, here.now) is Standing.UNKNOWN
        assert await of(here).of(name, here.now) is Standing.GOOD


async def test_a_token_that_was_sealed_with_another_key_is_of_no_use(tmp_path: Path) -> None:
    async with site(tmp_path, Company(offline=True)) as here:
        name, _ = await connected(here)
        await here.store.people.keep_refresh(name, b"sealed with another key")
        here.wait(7 * HOUR)
        assert await of(here).of(name, here.now) is Standing.ENDED
        assert asked(here) == 0


async def test_an_answer_about_somebody_else_is_none(tmp_path: Path) -> None:
    async with site(tmp_path, Company(offline=True)) as here:
        name, _ = await connected(here)
        here.company.id_token = {"sub": "bo"}
        here.wait(7 * HOUR)
        assert await of(here).of(name, here.now) is Standing.ENDED


async def test_users_of_the_relay_are_good_as_long_as_such_accounts_count(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        _, found = await here.redeem(await Browser(here).code(query()))
        here.wait(20 * 24 * HOUR)
        assert await renew(here, found) == 200
        of(here)._rules = Rules(local_accounts=False, issuer=ISSUER)
        assert await renew(here, found) == 400


async def test_without_the_provider_its_users_are_out(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        name, found = await connected(here)
        of(here)._rules, of(here)._party = Rules(), None
        assert await of(here).of(name, here.now) is Standing.ENDED
        assert await renew(here, found) == 400
        assert await of(here).of("nobody", here.now) is Standing.ENDED


def of(here: Site) -> Standings:
    endpoints = getattr(here.server._routes["POST", "/oauth/token"], "__self__", None)
    found = endpoints._standings  # type: ignore[union-attr]
    assert isinstance(found, Standings)
    return found
