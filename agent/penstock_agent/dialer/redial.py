"""When to dial again. Pure: chances and times are arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FIRST: Final = 0.5
"""Seconds: the longest wait before the second attempt."""
CAP: Final = 60.0
CAP_UNFINISHED: Final = 5.0
"""The same while callers wait for exchanges that only this agent can finish."""
STABLE: Final = 30.0
"""Seconds for which a link must have stood before the next loss counts as a first one."""
REFUSED: Final = (300.0, 900.0)
"""Seconds between attempts while the relay says that it does not know this agent: it may be restored."""
WAITING: Final = (15.0, 60.0)
"""The same while somebody is expected to approve this agent."""


@dataclass(frozen=True, slots=True)
class Redial:
    """How often in a row dialling has failed, or the link not stood for long."""

    failures: int = 0

    def after(self, stood: float | None) -> Redial:
        """A link ended that stood for so many seconds, or None came up."""
        return Redial(1 if stood is not None and stood >= STABLE else self.failures + 1)

    def wait(self, chance: float, *, unfinished: bool, refused: bool = False, waiting: bool = False) -> float:
        """Seconds until the next attempt: full jitter, so that a relay's agents do not come back at once.

        `chance` is random, from 0 to 1; `waiting`: it was refused because nobody has approved it yet.
        """
        if refused:
            least, most = WAITING if waiting else REFUSED
            return least + chance * (most - least)
        cap = CAP_UNFINISHED if unfinished else CAP
        # Doubling stops early: 0.5 s * 2**7 is over a minute already.
        return chance * min(cap, FIRST * float(1 << min(self.failures, 7)))
