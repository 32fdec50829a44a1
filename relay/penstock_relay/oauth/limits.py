"""How often strangers may ask for what costs something, before anybody knows who they are. Pure.

Each bound is for one address, with a larger one behind it for all together; where addresses are not known,
only the larger one holds, and a stranger can use it up. Nothing here is asked for a call with a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Final

from penstock_relay.address import Network, Ranges
from penstock_relay.oauth.buckets import Buckets, Rate
from penstock_relay.oauth.web import Peer

REGISTRATIONS: Final = Rate(20, 20)
ALL_REGISTRATIONS: Final = Rate(500, 500)
ASSISTANTS_REGISTRATIONS: Final = Rate(500, 500)
"""From the published networks of assistants, where one address stands for many users: apart from strangers',
so that neither uses up the other's."""
DOCUMENTS: Final = Rate(30, 120)
"""Metadata documents that had to be fetched."""
ALL_DOCUMENTS: Final = Rate(600, 2400)
LOGINS: Final = Rate(50, 100)
"""Wrong passwords, for whatever names."""
ALL_LOGINS: Final = Rate(3000, 10_000)
REFUSALS: Final = Rate(60, 600)
"""Refusals of the token endpoint. There is no bound for all together: it would let a stranger keep others
from refreshing, and protect nothing, as what is tried there are secrets of 256 bits."""

TOO_OFTEN: Final = "Too many requests from this address. Wait a few minutes and try again."


class Limits:
    """One per replica. `assistants` are networks where one address stands for many users."""

    def __init__(self, assistants: Sequence[Network] = ()) -> None:
        self._assistants = Ranges(assistants)
        self._registrations = Buckets(REGISTRATIONS, ALL_REGISTRATIONS)
        self._registrations_of_assistants = Buckets(REGISTRATIONS, ASSISTANTS_REGISTRATIONS)
        self._documents = Buckets(DOCUMENTS, ALL_DOCUMENTS)
        self._logins = Buckets(LOGINS, ALL_LOGINS)
        self._refusals = Buckets(REFUSALS, None)

    def register(self, peer: Peer, now: float) -> int:
        """0 when the registration is counted in; otherwise seconds until another one may be."""
        if self._assistant(peer):
            return ceil(self._registrations_of_assistants.take(Peer(), now))
        return ceil(self._registrations.take(peer, now))

    def fetch(self, peer: Peer, now: float) -> int:
        """Like `register`, for a document that is not at hand."""
        return ceil(self._documents.take(peer, now))

    def log_in(self, peer: Peer, now: float) -> int:
        """Like `register`, for a password that is taken for a wrong one until `logged_in`."""
        return ceil(self._logins.take(peer, now))

    def logged_in(self, peer: Peer) -> None:
        """The password that was counted last was right."""
        self._logins.give_back(peer)

    def refused(self, peer: Peer, now: float) -> None:
        """The token endpoint has refused something."""
        if not self._assistant(peer):
            self._refusals.take(peer, now)

    def refusing(self, peer: Peer, now: float) -> int:
        """Seconds until the token endpoint listens to `peer` again."""
        return ceil(self._refusals.wait(peer, now))

    def _assistant(self, peer: Peer) -> bool:
        return not peer.shared and peer.address in self._assistants
