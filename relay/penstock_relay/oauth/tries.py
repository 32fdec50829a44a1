"""Who may try a password, and how often, so that no stranger uses up the tries of a name's owner. Pure."""

from __future__ import annotations

from typing import Final

from penstock_relay.oauth.buckets import networks
from penstock_relay.oauth.limits import Limits
from penstock_relay.oauth.throttle import Throttle
from penstock_relay.oauth.web import Peer

MAX_STRANGERS: Final = 50
"""Wrong passwords for one name in a quarter of an hour, from everywhere where it has not logged in."""


class Tries:
    """Counts tries, as failed ones until they turn out not to be.

    A device where the user has logged in has a budget of its own. From elsewhere each address has one for the
    name, and behind it the name has one for all addresses; where addresses are not known there is a smaller
    one for the name alone.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._devices = Throttle()
        self._addresses = Throttle()
        self._names = Throttle(MAX_STRANGERS)
        self._names_alone = Throttle()

    def begin(self, name: str, device: str | None, peer: Peer, now: float) -> bool:
        """Counts a try before it is judged: guesses that come at once count, too. False when none is left."""
        budgets = self._budgets(name, device, peer)
        if any(throttle.refuses(key, now) for throttle, key in budgets):
            return False
        if device is None and self._limits.log_in(peer, now):
            return False
        for throttle, key in budgets:
            throttle.failed(key, now)
        return True

    def succeeded(self, name: str, device: str | None, peer: Peer) -> None:
        for throttle, key in self._budgets(name, device, peer):
            throttle.succeeded(key)
        if device is None:
            self._limits.logged_in(peer)

    def _budgets(self, name: str, device: str | None, peer: Peer) -> list[tuple[Throttle, str]]:
        if device is not None:
            return [(self._devices, device)]
        if peer.shared:
            return [(self._names_alone, name)]
        return [(self._addresses, f"{networks(peer.address)[0]} {name}"), (self._names, name)]
