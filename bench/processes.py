"""CPU time of whole process trees, read from /proc by somebody outside of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> tuple[int, float] | None:
    """Parent and CPU seconds (all threads, user and system) of a process; None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold spaces
    return int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS


@dataclass(frozen=True)
class Root:
    """A process of the path. `whole`: its descendants do its work (sshd); else they are servers' children."""

    pid: int
    whole: bool = False


def snapshot(roots: Mapping[str, Root]) -> dict[str, float]:
    """CPU seconds of each root, and under "children" of all processes that roots started for the servers."""
    stats = {
        int(name): found for name in os.listdir("/proc") if name.isdigit() and (found := _stat(int(name)))
    }
    names = {root.pid: name for name, root in roots.items()}
    totals = dict.fromkeys([*roots, "children"], 0.0)
    for pid, (parent, seconds) in stats.items():
        if pid in names:
            totals[names[pid]] += seconds
            continue
        while parent in stats and parent not in names:
            parent = stats[parent][0]
        if parent in names:
            name = names[parent]
            totals[name if roots[name].whole else "children"] += seconds
    return totals


def busy_seconds() -> float:
    """CPU seconds that all cores of this machine have spent on anything since it started."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / TICKS


def own_seconds() -> float:
    times = os.times()
    return times.user + times.system
