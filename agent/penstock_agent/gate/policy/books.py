"""What each person has used of what the rules allow: rates, calls at a time, and the counts of a day. Pure.

One clock, in seconds since 1970. Days are those of UTC. A clock that is set back gives nobody anything: what
was counted stays counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil
from typing import Final

import msgspec

from penstock_agent.gate.expose import Item
from penstock_agent.gate.policy.rules import Budget

DAY_S: Final = 86400
MINUTE_S: Final = 60.0
ACCOUNTS_MAX: Final = 50_000
"""Accounts that are kept; those that say nothing any more make room, and without room calls are refused."""
PER_PERSON_MAX: Final = 500
"""Accounts of one person. What else that person uses is counted together: callers choose names."""
TOGETHER: Final = "*"

Person = tuple[str, str]
"""Issuer and subject: with another application it is the same person."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What a call is counted for."""

    server: str
    rule: str
    item: Item
    name: str
    budget: Budget

    @property
    def what(self) -> str:
        """Resources are counted together: which one is read is chosen by the caller."""
        return "resources" if self.item is Item.RESOURCE else f"{self.item.value}:{self.name}"


Key = tuple[str, str, str, str, str]
"""Person, server, rule, what."""


@dataclass(slots=True, eq=False)
class Account:
    """Of one person and one tool."""

    key: Key
    tokens: float = 0.0
    filled_at: float = -1.0
    """When ``tokens`` was true; before 1970 for a full bucket."""
    running: list[float] = field(default_factory=list)
    """When each call that runs is given up at the latest."""
    day: int = -1
    calls: int = 0
    bytes: int = 0

    def at(self, now: float) -> None:
        """Begin another day, if it is one."""
        day = int(now // DAY_S)
        if day > self.day:
            self.day, self.calls, self.bytes = day, 0, 0

    def refill(self, rate: int, now: float) -> None:
        """``rate``: calls per minute, which is also how many may come at once."""
        if self.filled_at < 0:
            self.tokens, self.filled_at = float(rate), now
            return
        passed = max(0.0, now - self.filled_at)
        self.tokens = min(float(rate), self.tokens + passed * rate / MINUTE_S)
        self.filled_at = max(now, self.filled_at)

    def says_nothing(self, now: float) -> bool:
        """Whether a new one would say the same."""
        return not self.running and self.day < int(now // DAY_S) and now - self.filled_at >= MINUTE_S


@dataclass(frozen=True, slots=True)
class Over:
    """A budget is used up; ``text`` for the caller. ``at``: when it will work again, as far as is known."""

    text: str
    at: float | None


@dataclass(slots=True, eq=False)
class Taken:
    """What one call has been counted for. ``runs``: whether it takes one of the places of calls that run."""

    accounts: Sequence[tuple[Account, Charge]]
    until: float
    runs: bool
    holds: bool = False


class _Record(msgspec.Struct, array_like=True, frozen=True):
    key: Key
    day: int
    calls: int
    bytes: int


_records = msgspec.json.Decoder(list[_Record])


class Books:
    """Of one agent."""

    def __init__(self) -> None:
        self._accounts: dict[Key, Account] = {}
        self._of: Counter[Person] = Counter()
        self.changed = False
        """Whether a day's counts have changed since ``dump``."""

    def __len__(self) -> int:
        return len(self._accounts)

    def take(
        self, person: Person, charges: Sequence[Charge], now: float, until: float, *, runs: bool
    ) -> Taken | Over:
        """Count a call, for all of its charges or for none. ``until``: when it is given up at the latest."""
        found: list[tuple[Account, Charge]] = []
        for charge in charges:
            account = self._account(person, charge, now)
            if account is None:
                return Over(
                    "The site counts the calls of more people and tools than it can keep. Nothing was done. "
                    "Try again tomorrow, or tell the site's administrator.",
                    None,
                )
            if (over := _over(account, charge, now, runs=runs)) is not None:
                return over
            found.append((account, charge))
        for account, charge in found:
            if charge.budget.calls_per_minute is not None:
                account.tokens -= 1
            account.calls += 1
            self.changed = True
        taken = Taken(found, until, runs)
        self.hold(taken)
        return taken

    def hold(self, taken: Taken) -> None:
        """It runs (again)."""
        if taken.runs and not taken.holds:
            taken.holds = True
            for account, _ in taken.accounts:
                account.running.append(taken.until)

    def release(self, taken: Taken) -> None:
        """It runs no more."""
        if taken.holds:
            taken.holds = False
            for account, _ in taken.accounts:
                account.running.remove(taken.until)

    def answered(self, taken: Taken, size: int, now: float) -> Over | None:
        """Count the bytes of its answer, which is about to leave; or say why it must not."""
        for account, charge in taken.accounts:
            account.at(now)
            budget = charge.budget
            if budget.max_result is not None and size > budget.max_result:
                return Over(
                    f"The answer has {size} bytes, and this site lets out {budget.max_result} bytes at most "
                    "in one answer of this. The call has run; nothing of its answer is shown. Ask for less "
                    "at once: a narrower query, a page, or a part.",
                    None,
                )
            if budget.bytes_per_day is not None and account.bytes + size > budget.bytes_per_day:
                left = max(0, budget.bytes_per_day - account.bytes)
                return Over(
                    f"The answer has {size} bytes, and of the {budget.bytes_per_day} bytes that this site "
                    f"lets you have of this in a day, {left} are left. The call has run; nothing of its "
                    f"answer is shown. Ask for less, or {_again(_tomorrow(account), now)}",
                    _tomorrow(account),
                )
        for account, _ in taken.accounts:
            account.bytes += size
            self.changed = True
        return None

    def dump(self, now: float) -> bytes:
        """The counts of this day, for a later run."""
        today = int(now // DAY_S)
        kept = [
            _Record(one.key, one.day, one.calls, one.bytes)
            for one in self._accounts.values()
            if one.day >= today and (one.calls or one.bytes)
        ]
        self.changed = False
        return msgspec.json.encode(kept)

    def load(self, data: bytes) -> None:
        """Raises ValueError for what no ``dump`` wrote."""
        try:
            records = _records.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ValueError("It is not what this agent writes.") from None
        for record in records[:ACCOUNTS_MAX]:
            account = self._open(record.key)
            account.day, account.calls, account.bytes = record.day, record.calls, record.bytes

    def _account(self, person: Person, charge: Charge, now: float) -> Account | None:
        key = (*person, charge.server, charge.rule, charge.what)
        account = self._accounts.get(key)
        if account is None:
            if self._of[person] >= PER_PERSON_MAX:
                key = (*person, charge.server, charge.rule, TOGETHER)
                account = self._accounts.get(key)
            if account is None:
                if len(self._accounts) >= ACCOUNTS_MAX and not self._tidy(now):
                    return None
                account = self._open(key)
        account.at(now)
        return account

    def _open(self, key: Key) -> Account:
        account = self._accounts[key] = Account(key)
        self._of[key[0], key[1]] += 1
        return account

    def _tidy(self, now: float) -> bool:
        """Forget what says nothing any more. False when there is nothing to forget."""
        for key in [key for key, one in self._accounts.items() if one.says_nothing(now)]:
            del self._accounts[key]
            self._of[key[0], key[1]] -= 1
        self._of = +self._of
        return len(self._accounts) < ACCOUNTS_MAX


def _over(account: Account, charge: Charge, now: float, *, runs: bool) -> Over | None:
    budget = charge.budget
    if budget.calls_per_day is not None and account.calls >= budget.calls_per_day:
        at = _tomorrow(account)
        return _used_up(f"{_times(budget.calls_per_day)} in a day (of UTC)", at, now)
    if budget.bytes_per_day is not None and account.bytes >= budget.bytes_per_day:
        at = _tomorrow(account)
        return _used_up(f"{budget.bytes_per_day} bytes of answers in a day (of UTC)", at, now)
    if budget.concurrent is not None and runs and len(account.running) >= budget.concurrent:
        at = min(account.running, default=now)
        return Over(
            f"You have used up what the site allows you of this: {_times(budget.concurrent)} at a time. "
            f"Nothing was done. Try again when one of them has ended, at {_clock(at)} at the latest.",
            at,
        )
    if budget.calls_per_minute is not None:
        account.refill(budget.calls_per_minute, now)
        if account.tokens < 1:
            at = now + (1 - account.tokens) * MINUTE_S / budget.calls_per_minute
            return _used_up(f"{_times(budget.calls_per_minute)} in a minute", at, now)
    return None


def _used_up(what: str, at: float, now: float) -> Over:
    again = _again(at, now)
    text = f"You have used up what the site allows you of this: {what}. Nothing was done. "
    return Over(text + again[0].upper() + again[1:], at)


def _times(count: int) -> str:
    return "1 call" if count == 1 else f"{count} calls"


def _again(at: float, now: float) -> str:
    return f"try again at {_clock(at)}, in {max(1, ceil(at - now))} s."


def _tomorrow(account: Account) -> float:
    return float((account.day + 1) * DAY_S)


def _clock(at: float) -> str:
    """Whole seconds, never too early."""
    return datetime.fromtimestamp(ceil(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
