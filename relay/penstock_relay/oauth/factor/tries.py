"""How often a code may be tried by whoever knows the password. Pure.

Three codes of a million are good at a time: in a day a stranger has one chance in seventeen thousand.
"""

from __future__ import annotations

from typing import Final

from penstock_relay.oauth.throttle import Throttle

MOST: Final = 5
"""Wrong codes in a quarter of an hour."""
MOST_A_DAY: Final = 20
DAY_S: Final = 86_400.0


class CodeTries:
    """Counts tries for a user, as failed ones until they turn out not to be.

    A device where the user has logged in has tries of its own; all the world besides has one budget
    together, whatever the addresses. A login there gives nothing back to the others.
    """

    def __init__(self) -> None:
        self._short = Throttle(MOST)
        self._long = Throttle(MOST_A_DAY, DAY_S)

    def begin(self, user: str, device: str | None, now: float) -> bool:
        """Counts a try before it is judged: guesses that come at once count, too. False when none is left."""
        key = _key(user, device)
        if self._short.refuses(key, now) or self._long.refuses(key, now):
            return False
        self._short.failed(key, now)
        self._long.failed(key, now)
        return True

    def succeeded(self, user: str, device: str | None) -> None:
        key = _key(user, device)
        self._short.succeeded(key)
        self._long.succeeded(key)


def _key(user: str, device: str | None) -> str:
    return f"anywhere {user}" if device is None else f"at {device} {user}"
