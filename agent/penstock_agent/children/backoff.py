"""When a server whose child crashed may be started again: backoff with full jitter, and a circuit.

Pure: history and the time in, history out. Times are seconds of any clock that does not go back.
"""

from dataclasses import dataclass, replace
from typing import Final

FIRST_S: Final = 0.5
"""Longest wait after the first crash; it doubles with every further one."""

LONGEST_S: Final = 60.0
"""Longest wait after any number of crashes."""

WINDOW_S: Final = 60.0
WINDOW_CRASHES: Final = 5
"""This many crashes within WINDOW_S seconds open the circuit."""

OPEN_S: Final = 60.0
"""How long an open circuit refuses every start, before it allows one trial."""

TRIAL_S: Final = 10.0
"""A trial that has lived this long has worked, even if nobody said so."""

STABLE_S: Final = 60.0
"""A child that lived this long ends a row of crashes: the next wait is short again."""


@dataclass(frozen=True, slots=True)
class History:
    """What one server's children did lately. A new one has done nothing wrong."""

    failures: int = 0
    """Crashes in a row."""
    crashes: tuple[float, ...] = ()
    """When, within the window; at most WINDOW_CRASHES."""
    open_until: float | None = None
    """The circuit is open until then, and half open afterwards; None: closed."""
    trial_at: float | None = None
    """The trial of a half-open circuit began then and has not been decided."""


def delay(failures: int, chance: float) -> float:
    """Seconds to wait before the next start, after ``failures`` crashes in a row.

    ``chance`` is random in [0, 1).
    """
    if failures < 1:
        return 0.0
    # Beyond this exponent the cap holds anyway, and a float would overflow.
    return chance * min(LONGEST_S, FIRST_S * 2.0 ** min(failures - 1, 16))


def refused_for(history: History, now: float) -> float:
    """Seconds for which a start is refused because the circuit is open; 0 when it may be started now."""
    if history.open_until is None:
        return 0.0
    if now < history.open_until:
        return history.open_until - now
    if history.trial_at is not None and now < history.trial_at + TRIAL_S:
        return history.trial_at + TRIAL_S - now
    return 0.0


def calm(history: History, now: float) -> bool:
    """Whether there is no reason against starting one that nobody needs yet: no crash lately, no circuit that
    is open, and no trial to wait for.
    """
    history = _settled(history, now)
    return history.open_until is None and all(now - at >= WINDOW_S for at in history.crashes)


def started(history: History, now: float) -> History:
    """A start begins. If the circuit is half open this is its one trial."""
    history = _settled(history, now)
    if history.open_until is None:
        return history
    return replace(history, trial_at=now)


def worked(history: History) -> History:
    """A child has answered: a trial under way has succeeded."""
    if history.trial_at is None:
        return history
    return replace(history, open_until=None, trial_at=None, crashes=())


def withdrawn(history: History) -> History:
    """The trial was ended by us before it showed anything: another one may follow."""
    return replace(history, trial_at=None)


def crashed(history: History, now: float, lived_s: float) -> History:
    """A child ended that nobody stopped, ``lived_s`` seconds after its start."""
    history = _settled(history, now)
    failures = 1 if lived_s >= STABLE_S else history.failures + 1
    if history.open_until is not None:
        # The trial failed; or a child from before the circuit opened ended, which says the same.
        return History(failures=failures, open_until=now + OPEN_S)
    recent = (*(at for at in history.crashes if now - at < WINDOW_S), now)[-WINDOW_CRASHES:]
    if len(recent) == WINDOW_CRASHES:
        return History(failures=failures, open_until=now + OPEN_S)
    return History(failures=failures, crashes=recent)


def _settled(history: History, now: float) -> History:
    """A trial that has lived long enough closes the circuit."""
    if history.trial_at is not None and now >= history.trial_at + TRIAL_S:
        return worked(history)
    return history
