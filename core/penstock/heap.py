"""What a long-running program asks of Python's garbage collector."""

from __future__ import annotations

import gc

THRESHOLDS = (5_000, 20, 50)
"""Allocations before the young are looked at, and how often that is done before the older ones are.

Reference counting frees nearly everything that a call makes. Python's default (700) looks for cycles every
few calls, in vain.
"""


def settle() -> None:
    """Call once, when everything is imported and set up and before the first call is served.

    What is there now stays until the end, so no collection needs to walk over it again: with some 200,000
    objects of imported modules that is a pause of many milliseconds, for all callers at once.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
