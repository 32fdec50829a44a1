"""When to renew. Pure: chances and times are arguments. All in seconds, moments since the epoch."""

from __future__ import annotations

from typing import Final

FIRST_PART: Final = 1 / 3
"""Part of a certificate's life after which it is renewed."""
JITTER: Final = 1 / 12
"""Part of its life over which agents that joined together spread."""
BACKDATED: Final = 300.0
"""How far before its making a certificate begins."""

LEAST_PAUSE: Final = 30.0
MOST_PAUSE: Final = 3600.0
"""Bounds of the pause between attempts that fail."""
REFUSED: Final = (300.0, 900.0)
"""Pause after the relay said no: its operator has to do something first."""
WAITING: Final = (15.0, 60.0)
"""The same while somebody is expected to approve this agent."""


def due(not_before: float, not_after: float, now: float, chance: float) -> float:
    """When to renew a certificate; not after `now` if that is at once. `chance` is random, from 0 to 1.

    A clock that says the certificate is over, or is not good yet, may be wrong; or it is right. Both are
    settled by renewing at once.
    """
    if not not_before - BACKDATED <= now < not_after:
        return now
    life = not_after - not_before
    return not_before + life * (FIRST_PART + chance * JITTER)


def pause(failures: int, chance: float, left: float) -> float:
    """How long to wait after `failures` attempts in a row; `left`: until the certificate ends.

    A tenth of what is left at most: there is time, or there is a hurry.
    """
    cap = min(MOST_PAUSE, max(LEAST_PAUSE, left / 10))
    most = min(cap, LEAST_PAUSE * float(1 << min(max(0, failures - 1), 7)))
    return most / 2 + chance * most / 2
