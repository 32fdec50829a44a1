"""Tokens: good ones in, everything else out, and nothing believed for long without the store."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from penstock.principal import Principal
from penstock_relay import access
from penstock_relay.access import STALE_S, Access, AccessUnavailable, TokenGrant
from penstock_relay.store import Store, Token

NOW = 1_800_000_000.0


class Clock:
    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self) -> float:
        return self.value


class Watched(Store):
    """A store that counts questions, and fails or holds them on demand."""

    lookups = 0
    failing = False
    gate: asyncio.Event | None = None
    asked: asyncio.Event | None = None

    async def change_sequence(self) -> int:
        if self.failing:
            raise OperationalError("SELECT", {}, Exception("disk I/O error"))
        return await super().change_sequence()

    def watch(self) -> None:
        find = self.tokens.find

        async def watched(public_id: str) -> Token | None:
            self.lookups += 1
            if self.failing:
                raise OperationalError("SELECT", {}, Exception("disk I/O error"))
            found = await find(public_id)
            if self.gate is not None and self.asked is not None:
                self.asked.set()
                await self.gate.wait()
            return found

        self.tokens.find = watched  # type: ignore[method-assign]  # what a test double is for


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Watched]:
    async with await Watched.open(f"sqlite+aiosqlite:///{tmp_path / 'relay.db'}") as store:
        await store.sites.add("mill", NOW)
        store.watch()
        yield store


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def ticks() -> Clock:
    return Clock(50.0)


@pytest.fixture
def checker(store: Watched, clock: Clock, ticks: Clock) -> Access:
    return Access(store, clock=clock, ticks=ticks)


async def issued(store: Store, server: str | None = None, name: str | None = "ci") -> str:
    text, record = access.issue("mill", server, name, NOW, NOW + 1000)
    await store.tokens.create(record)
    return text


async def test_a_good_token_names_its_principal_and_what_it_opens(store: Watched, checker: Access) -> None:
    principal = Principal(issuer="penstock", subject="svc:ci", name="ci")
    assert await checker.principal(await issued(store)) == TokenGrant(principal, "mill", None, NOW + 1000)
    granted = await checker.principal(await issued(store, "files"))
    assert granted is not None
    assert granted.server == "files"


async def test_a_token_without_a_name_is_called_by_its_public_id(store: Watched, checker: Access) -> None:
    text = await issued(store, name=None)
    granted = await checker.principal(text)
    assert granted is not None
    assert granted.principal.subject == f"svc:{text.split('_')[1]}"


async def test_tokens_have_the_documented_form_and_256_random_bits() -> None:
    texts = [access.issue("mill", None, None, NOW, NOW + 1)[0] for _ in range(20)]
    assert len(set(texts)) == 20
    for text in texts:
        prefix, public_id, secret = text.split("_")
        assert (prefix, len(public_id), len(secret)) == ("pst", 10, 43)
        assert text.isascii()
        assert access.public_id(text) == public_id
    assert access.public_id("abc") == "abc"


async def test_the_stored_record_does_not_hold_the_secret() -> None:
    text, record = access.issue("mill", None, "ci", NOW, NOW + 1)
    assert text.split("_")[2].encode() not in repr(record).encode()


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t[:-1] + ("a" if t[-1] != "a" else "b"),
        lambda t: t[:4] + ("a" if t[4] != "a" else "b") + t[5:],
        lambda t: t[:-1],
        lambda t: t + "a",
        lambda t: t.upper(),
        lambda t: t + "\n",
        lambda t: " " + t,
        lambda t: t.replace("pst_", "psx_"),
        lambda t: t.split("_")[2],
        lambda t: "",
    ],
)
async def test_an_altered_token_opens_nothing(change: object, store: Watched, checker: Access) -> None:
    assert callable(change)
    text = await issued(store)
    assert await checker.principal(change(text)) is None
    assert await checker.principal(text) is not None


async def test_the_secret_of_one_token_does_not_fit_another(store: Watched, checker: Access) -> None:
    one, two = (await issued(store)).split("_"), (await issued(store)).split("_")
    assert await checker.principal(f"pst_{one[1]}_{two[2]}") is None


async def test_a_token_ends_at_its_expiry_even_when_it_is_remembered(
    store: Watched, checker: Access, clock: Clock
) -> None:
    text = await issued(store)
    clock.value = NOW + 999.9
    assert await checker.principal(text) is not None
    clock.value = NOW + 1000
    assert await checker.principal(text) is None


async def test_the_store_is_asked_once_per_token_while_nothing_changes(
    store: Watched, checker: Access
) -> None:
    good, unknown = await issued(store), access.issue("mill", None, None, NOW, NOW + 1)[0]
    for _ in range(5):
        assert await checker.principal(good) is not None
        assert await checker.principal(unknown) is None
        await checker.poll()
    assert store.lookups == 2


async def test_a_revocation_by_another_process_takes_effect_at_the_next_poll(
    store: Watched, checker: Access, tmp_path: Path
) -> None:
    text = await issued(store)
    assert await checker.principal(text) is not None
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'relay.db'}") as command:
        await command.tokens.revoke(access.public_id(text), NOW)
    await checker.poll()
    assert await checker.principal(text) is None


async def test_who_watches_is_told_of_every_change_once_and_again_when_in_doubt(
    store: Watched, checker: Access
) -> None:
    async def told() -> bool:
        try:
            async with asyncio.timeout(0):
                await checker.changed()
        except TimeoutError:
            return False
        return True

    await checker.poll()
    assert await told()
    await checker.poll()
    assert not await told()
    await issued(store)
    await checker.poll()
    assert await told()
    assert not await told()
    checker.doubt()
    assert await told()


async def test_a_token_issued_after_it_was_asked_for_is_good_at_the_next_poll(
    store: Watched, checker: Access
) -> None:
    text, record = access.issue("mill", None, None, NOW, NOW + 10)
    assert await checker.principal(text) is None
    await store.tokens.create(record)
    await checker.poll()
    assert await checker.principal(text) is not None


async def test_the_watch_notices_a_revocation_within_a_second(store: Watched) -> None:
    polled = asyncio.Event()

    class Observed(Access):
        async def poll(self) -> None:
            await super().poll()
            polled.set()

    checker = Observed(store, clock=Clock(NOW))
    text = await issued(store)
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(checker.run())
        assert await checker.principal(text) is not None
        await store.tokens.revoke(access.public_id(text), NOW)
        polled.clear()
        async with asyncio.timeout(1.0):
            await polled.wait()
        assert await checker.principal(text) is None
        watch.cancel()


async def test_nothing_remembered_is_believed_when_the_store_was_unreadable_for_too_long(
    store: Watched, checker: Access, ticks: Clock
) -> None:
    text = await issued(store)
    assert await checker.principal(text) is not None
    store.failing = True
    ticks.value += STALE_S
    await checker.poll()
    assert await checker.principal(text) is not None
    ticks.value += 0.1
    await checker.poll()
    with pytest.raises(AccessUnavailable, match="cannot check tokens"):
        await checker.principal(text)
    store.failing = False
    await checker.poll()
    assert await checker.principal(text) is not None


async def test_a_watch_that_stands_still_fails_closed_too(
    store: Watched, checker: Access, ticks: Clock
) -> None:
    text = await issued(store)
    assert await checker.principal(text) is not None
    ticks.value += STALE_S + 0.1
    with pytest.raises(AccessUnavailable):
        await checker.principal(text)


async def test_an_unreadable_store_at_the_start_lets_nobody_in(store: Watched, checker: Access) -> None:
    text = await issued(store)
    store.failing = True
    with pytest.raises(AccessUnavailable):
        await checker.principal(text)


async def test_a_lookup_that_fails_lets_nobody_in_and_is_not_remembered(
    store: Watched, checker: Access
) -> None:
    text = await issued(store)
    await checker.poll()
    store.failing = True
    with pytest.raises(AccessUnavailable):
        await checker.principal(text)
    store.failing = False
    assert await checker.principal(text) is not None


async def test_a_lookup_overtaken_by_a_revocation_is_not_remembered(store: Watched, checker: Access) -> None:
    text = await issued(store)
    await checker.poll()
    store.gate, store.asked = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        slow = group.create_task(checker.principal(text))
        await store.asked.wait()
        await store.tokens.revoke(access.public_id(text), NOW)
        await checker.poll()
        store.gate.set()
    assert slow.result() is not None
    store.gate = None
    assert await checker.principal(text) is None


async def test_guessing_is_remembered_up_to_a_bound_and_displaces_no_real_token(
    store: Watched, checker: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "MAX_ABSENT", 3)
    monkeypatch.setattr(access, "MAX_KNOWN", 2)
    good = await issued(store)
    assert await checker.principal(good) is not None
    for _ in range(10):
        assert await checker.principal(access.issue("mill", None, None, NOW, NOW + 1)[0]) is None
        assert len(checker._absent) <= 3
    asked = store.lookups
    assert await checker.principal(good) is not None
    assert store.lookups == asked
    more = [await issued(store) for _ in range(4)]
    await checker.poll()
    for text in more:
        assert await checker.principal(text) is not None
        assert len(checker._known) <= 2
