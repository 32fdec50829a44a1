"""Key sets at URLs, kept as long as they are good: few fetches, whatever strangers write into tokens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn, Protocol

from penstock import jwk
from penstock.jwk import BadKeys, KeySet

FRESH_S: Final = 600.0
"""Age above which a set is fetched again: a key that was withdrawn is believed for so long."""
AGAIN_S: Final = 30.0
"""Between two fetches for the sake of keys that a set does not hold: names of keys are free to invent. A
signer that shows a new key only when it uses it is refused for so long at most."""
RETRY_S: Final = 5.0
"""After a fetch that failed."""
STALE_S: Final = 24 * 3600.0
"""Age up to which a set is used while its URL cannot be read."""
MAX_SETS: Final = 256
"""Sets kept; the one that was not asked for longest makes room."""
MAX_FLIGHTS: Final = 32
"""Fetches under way."""


class FetchError(Exception):
    """The document cannot be had; the text tells nothing of what answered.

    `withdrawn`: its host was reached, and has no document there that may be used.
    """

    def __init__(self, text: str, *, withdrawn: bool = False) -> None:
        super().__init__(text)
        self.withdrawn = withdrawn


class Fetch(Protocol):
    """How a document is had, in bounded time and size. Raises FetchError."""

    async def __call__(self, url: str, /) -> bytes: ...


class KeysUnavailable(Exception):
    """There is no key set to judge by at the moment: the token is neither good nor bad. The text says why."""


@dataclass(slots=True)
class _Set:
    """What is known of one URL. Times are of the cache's clock."""

    url: str
    found: KeySet | None = None
    since: float = 0.0
    """When `found` was asked for."""
    not_before: float = 0.0
    """When it may be fetched again."""
    problem: str = "too many fetches at once"
    """Why there was nothing the last time."""
    flight: asyncio.Event | None = None
    """Set when the fetch that is under way has ended, in whatever way."""


class KeyCache:
    """One per kind of fetch. :meth:`run` must be running. `ticks` counts seconds that never go back.

    Fetches are not part of the request that needs them: a caller that goes away ends none, or going away
    would be a way to have the next one started, or to have none succeed.
    """

    def __init__(
        self,
        fetch: Fetch,
        *,
        ticks: Callable[[], float] = time.monotonic,
        fresh_s: float = FRESH_S,
        again_s: float = AGAIN_S,
        stale_s: float = STALE_S,
        most: int = MAX_SETS,
    ) -> None:
        self._fetch = fetch
        self._ticks = ticks
        self._fresh_s = fresh_s
        self._again_s = again_s
        self._stale_s = stale_s
        self._most = most
        self._sets: dict[str, _Set] = {}
        self._flights = 0
        self._wanted: asyncio.Queue[_Set] = asyncio.Queue()  # of flights: as many as may be under way

    async def run(self) -> NoReturn:
        """Fetches what is asked for, for ever. A TaskGroup owns it."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                tasks.create_task(self._fly(await self._wanted.get()))

    async def keys(self, url: str, kid: str | None = None) -> KeySet:
        """The key set at `url`, new enough to hold `kid` if its owner has such a key. Raises KeysUnavailable.

        One fetch at a time per URL; who can be answered from what is kept does not wait for it.
        """
        kept = self._kept(url)
        waited = False
        while True:
            age = self._ticks() - kept.since
            usable = kept.found if age < self._stale_s else None
            fits = usable is not None and usable.holds(kid)
            if usable is not None and fits and age < self._fresh_s:
                return usable
            if waited or (kept.flight is None and not self._may_fly(kept)):
                if usable is None:
                    raise KeysUnavailable(kept.problem)
                return usable
            flight = kept.flight or self._start(kept)
            if usable is not None and fits:
                return usable
            await flight.wait()
            waited = True

    def _may_fly(self, kept: _Set) -> bool:
        return self._ticks() >= kept.not_before and self._flights < MAX_FLIGHTS

    def _start(self, kept: _Set) -> asyncio.Event:
        kept.flight = asyncio.Event()
        self._flights += 1
        self._wanted.put_nowait(kept)
        return kept.flight

    async def _fly(self, kept: _Set) -> None:
        begun = self._ticks()
        try:
            found = jwk.parse(await self._fetch(kept.url))
        except (FetchError, BadKeys) as error:
            kept.problem = str(error)
            kept.not_before = self._ticks() + RETRY_S
        else:
            kept.found, kept.since, kept.not_before = found, begun, self._ticks() + self._again_s
        finally:
            self._flights -= 1
            if kept.flight is not None:
                kept.flight.set()
            kept.flight = None

    def _kept(self, url: str) -> _Set:
        kept = self._sets.pop(url, None) or _Set(url)
        while len(self._sets) >= self._most:
            del self._sets[next(iter(self._sets))]
        self._sets[url] = kept
        return kept
