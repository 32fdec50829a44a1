"""From raw measurements to figures: percentiles, CPU per call, and ratios of the same round. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BAR_CALLERS = 16
BAR_RATE = 2.5  # at least this many times the calls/s of the peer
BAR_CPU = 0.5  # at most this part of the peer's CPU per call


@dataclass(frozen=True)
class Run:
    """One target under one number of callers in one round."""

    target: str
    callers: int
    round: int
    seconds: float
    calls: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms: Mapping[str, float]  # per call, by process
    foreign_cores: float  # busy cores that were neither the path nor the load

    @property
    def rate(self) -> float:
        return self.calls / self.seconds

    @property
    def path_cpu_ms(self) -> float:
        return sum(self.cpu_ms.values())


def percentile(values: Sequence[float], part: float) -> float:
    """Nearest rank. Raises ValueError for no values."""
    if not values:
        raise ValueError("no call was finished")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def make_run(
    target: str,
    callers: int,
    round: int,
    seconds: float,
    latencies: Sequence[float],
    cpu_seconds: Mapping[str, float],
    foreign_cores: float,
) -> Run:
    calls = len(latencies)
    p50, p95, p99 = (percentile(latencies, part) * 1000 for part in (0.50, 0.95, 0.99))
    cpu_ms = {name: spent / calls * 1000 for name, spent in cpu_seconds.items()}
    return Run(target, callers, round, seconds, calls, p50, p95, p99, cpu_ms, foreign_cores)


@dataclass(frozen=True)
class Ratio:
    """Ours by the peer's at one number of callers: medians over rounds of same-round ratios."""

    callers: int
    rate: float
    p50: float
    p95: float
    p99: float
    cpu: float


def ratios(runs: Sequence[Run], ours: str, peer: str) -> list[Ratio]:
    found = []
    for callers in sorted({run.callers for run in runs}):
        mine = {run.round: run for run in runs if run.callers == callers and run.target == ours}
        theirs = {run.round: run for run in runs if run.callers == callers and run.target == peer}
        pairs = [(mine[number], theirs[number]) for number in sorted(mine.keys() & theirs.keys())]
        found.append(
            Ratio(
                callers,
                statistics.median(a.rate / b.rate for a, b in pairs),
                statistics.median(a.p50_ms / b.p50_ms for a, b in pairs),
                statistics.median(a.p95_ms / b.p95_ms for a, b in pairs),
                statistics.median(a.p99_ms / b.p99_ms for a, b in pairs),
                statistics.median(a.path_cpu_ms / b.path_cpu_ms for a, b in pairs),
            )
        )
    return found


def meets_bar(found: Sequence[Ratio]) -> bool:
    (at_bar,) = [ratio for ratio in found if ratio.callers == BAR_CALLERS]
    return at_bar.rate >= BAR_RATE and at_bar.cpu <= BAR_CPU


def table(runs: Sequence[Run], ours: str, peer: str) -> str:
    """For a person: medians over rounds, and the ratios."""
    columns = "".join(f"{name:>9}" for name in ("calls/s", "p50 ms", "p95 ms", "p99 ms"))
    lines = [f"{'callers':>7}  {'path':<20}{columns}{'CPU ms/call':>13}"]
    for ratio in ratios(runs, ours, peer):
        for name in (peer, ours):
            of = [run for run in runs if run.callers == ratio.callers and run.target == name]
            rate, p50, p95, p99, cpu = (
                statistics.median(values)
                for values in zip(
                    *((r.rate, r.p50_ms, r.p95_ms, r.p99_ms, r.path_cpu_ms) for r in of), strict=True
                )
            )
            lines.append(
                f"{ratio.callers:>7}  {name:<20}{rate:>9.0f}{p50:>9.2f}{p95:>9.2f}{p99:>9.2f}{cpu:>13.3f}"
            )
            each = {part: statistics.median(run.cpu_ms[part] for run in of) for part in of[0].cpu_ms}
            lines.append(" " * 63 + "  ".join(f"{part} {value:.3f}" for part, value in each.items()))
        shown = (
            f"{ratio.rate:>8.2f}x{ratio.p50:>8.2f}x{ratio.p95:>8.2f}x{ratio.p99:>8.2f}x{ratio.cpu:>12.2f}x"
        )
        lines.append(f"{'':>7}  {'ratio':<20}{shown}")
        lines.append("")
    return "\n".join(lines)
