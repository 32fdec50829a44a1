"""Tests of penstock.heap, in a process of their own: it changes the collector of the whole program."""

from __future__ import annotations

import subprocess
import sys


def test_what_is_there_at_the_start_is_not_collected_again() -> None:
    script = (
        "import gc; from penstock import heap; heap.settle(); "
        "print(gc.get_freeze_count() > 1000, gc.get_count()[0] < 1000, gc.get_threshold() == heap.THRESHOLDS)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True", "True"]


def test_a_cycle_made_afterwards_is_still_found() -> None:
    script = (
        "import gc, weakref; from penstock import heap; heap.settle()\n"
        "class Knot: pass\n"
        "knot = Knot(); knot.self = knot; seen = weakref.ref(knot); del knot\n"
        "print(seen() is not None, gc.collect() > 0, seen() is None)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True", "True"]
