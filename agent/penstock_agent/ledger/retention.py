"""Which segments the ledger need not keep. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

DAY: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Retention:
    """``age``: seconds; ``size``: bytes. None keeps everything."""

    age: float | None
    size: int | None

    def surplus(self, begun: Sequence[float], sizes: Sequence[int], now: float) -> int:
        """How many of the oldest segments may go; never the last one, which is being written. ``begun``: when
        each was, in seconds since 1970.

        A segment is as old as its last record, which is older than the beginning of the next one.
        """
        total, count = sum(sizes), 0
        for size, following in zip(sizes[:-1], begun[1:], strict=True):
            old = self.age is not None and following < now - self.age
            large = self.size is not None and total > self.size
            if not old and not large:
                break
            total -= size
            count += 1
        return count
