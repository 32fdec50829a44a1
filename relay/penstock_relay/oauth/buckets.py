"""How much one caller, and all together, may ask for. Pure: token buckets, told what time it is.

A bucket is one number, the time at which it is full again (GCRA). What is full need not be remembered, and
where room is short the one that spent least is forgotten: nobody who has spent his share gets a new one by
asking from many other addresses.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from penstock_relay.oauth.web import Peer

MAX_KNOWN: Final = 10_000
"""Networks remembered by one `Buckets`."""
WIDER: Final = 4
"""How many times the share of an IPv6 /64 its whole /48 has: a site that was given one has 65,536 of them."""
_TINY: Final = 1e-3
"""Seconds that sums of floating numbers may be wrong by."""


@dataclass(frozen=True, slots=True)
class Rate:
    burst: int
    """At once, after a long rest."""
    hourly: float
    """Again within an hour."""

    @property
    def interval(self) -> float:
        """Seconds until one more may be taken."""
        return 3600 / self.hourly

    def times(self, factor: int) -> Rate:
        return Rate(self.burst * factor, self.hourly * factor)


class Buckets:
    """`each` for one address (IPv6: one /64), `together` for all callers; None: no bound for all together."""

    def __init__(self, each: Rate, together: Rate | None, most: int = MAX_KNOWN) -> None:
        self._rates = (each, each.times(WIDER))
        self._together = together
        self._most = most
        self._full_at: dict[str, float] = {}
        self._all_full_at = 0.0

    def wait(self, peer: Peer, now: float) -> float:
        """Seconds until one may be taken."""
        waits = [_wait(self._full_at.get(place, 0.0), rate, now) for place, rate in self._places(peer)]
        if self._together is not None:
            waits.append(_wait(self._all_full_at, self._together, now))
        return max(waits, default=0.0)

    def take(self, peer: Peer, now: float) -> float:
        """0 when one was taken; otherwise nothing was, and it may be tried again in so many seconds."""
        longest = self.wait(peer, now)
        if longest > 0:
            return longest
        for place, rate in self._places(peer):
            full_at = max(self._full_at.get(place, 0.0), now) + rate.interval
            if place not in self._full_at and len(self._full_at) >= self._most:
                self._forget(now)
            self._full_at[place] = full_at
        if self._together is not None:
            self._all_full_at = max(self._all_full_at, now) + self._together.interval
        return 0.0

    def give_back(self, peer: Peer) -> None:
        """What was taken turned out not to count."""
        for place, rate in self._places(peer):
            if place in self._full_at:
                self._full_at[place] -= rate.interval
        if self._together is not None:
            self._all_full_at -= self._together.interval

    def _places(self, peer: Peer) -> list[tuple[str, Rate]]:
        return [] if peer.shared else list(zip(networks(peer.address), self._rates, strict=False))

    def _forget(self, now: float) -> None:
        full = [place for place, full_at in self._full_at.items() if full_at <= now]
        for place in full or [min(self._full_at, key=self._full_at.__getitem__)]:
            del self._full_at[place]


def _wait(full_at: float, rate: Rate, now: float) -> float:
    # A burst of n: the bucket may be n intervals from full, so one more fits n - 1 before that.
    wait = full_at - now - (rate.burst - 1) * rate.interval
    return wait if wait > _TINY else 0.0


@lru_cache(maxsize=1024)
def networks(address: str) -> tuple[str, ...]:
    """What counts as one caller: an IPv4 address; of IPv6 the /64, and the /48 around it."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv4Address):
        return (address,)
    return tuple(str(ipaddress.IPv6Network((found, length), strict=False)) for length in (64, 48))
