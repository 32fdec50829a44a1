"""How many processes of a server are worth keeping warm: as many as its callers have lately needed at once.

Pure: demand and the time in, demand out. Times are seconds of any clock that does not go back.
"""

from dataclasses import dataclass, replace
from math import inf
from typing import Final

BUSY_USES: Final = 2
BUSY_WINDOW_S: Final = 300.0
"""A server that got this many processes for callers within so long is busy."""

IDLE_S: Final = 600.0
"""A busy server of which nobody gets a process for so long is no longer busy. No process is kept longer."""

BURST_S: Final = 10.0
"""As many as were needed within so long are kept,"""
MOST: Final = 3
"""but not more than this, unless ``warm`` asks for more."""

SETTING_MAX: Final = 8
"""What ``warm`` may ask for."""

USES_KEPT: Final = 16
"""Uses that are remembered of one server."""

EARLY_ENDS: Final = 2
"""This many that ended by themselves while they waited say that the server does not bear waiting."""
BORNE_S: Final = 60.0
"""One that waited so long and is still of use says that it does."""
PAUSE_S: Final = 600.0
PAUSE_MAX_S: Final = 3600.0
"""How long none is kept of such a server; it doubles each time, up to the latter."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What callers lately needed of one server, and how those kept for them fared."""

    uses: tuple[float, ...] = ()
    """When a caller got a process that answered; the latest USES_KEPT of the window."""
    busy_until: float = -inf
    ends: int = 0
    """Ends by themselves in a row."""
    none_before: float = -inf
    """None is kept until then."""


def used(demand: Demand, now: float, setting: int | None) -> Demand:
    """A caller has got a process, and it answered. ``setting``: ``warm`` of the server; None: automatic."""
    uses = (*(at for at in demand.uses if now - at < BUSY_WINDOW_S), now)[-USES_KEPT:]
    busy = setting is not None or len(uses) >= BUSY_USES or now < demand.busy_until
    return replace(demand, uses=uses, busy_until=now + IDLE_S if busy else demand.busy_until)


def wanted(demand: Demand, now: float, setting: int | None) -> int:
    """How many there should be now."""
    if now >= demand.busy_until or now < demand.none_before:
        return 0
    if setting is not None:
        return setting
    uses = demand.uses
    at_once = (sum(first <= at < first + BURST_S for at in uses) for first in uses)
    return min(MOST, max(at_once, default=1))


def ended(demand: Demand, now: float) -> Demand:
    """One ended by itself while it waited, or could not be started."""
    ends = demand.ends + 1
    if ends < EARLY_ENDS:
        return replace(demand, ends=ends)
    # Beyond this exponent the cap holds anyway.
    pause = min(PAUSE_MAX_S, PAUSE_S * 2.0 ** min(ends - EARLY_ENDS, 8))
    return replace(demand, ends=ends, none_before=now + pause)


def taken(demand: Demand, waited_s: float) -> Demand:
    """One was still alive when somebody needed it, or when it had waited long enough."""
    return replace(demand, ends=0) if waited_s >= BORNE_S else demand
