"""Who descends from a process, and who of them is still there."""

from pathlib import Path


def _stat(pid: int) -> list[str]:
    """State, parent and so on; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, also those in sessions of their own."""
    parents: dict[int, int] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and (stat := _stat(int(path.name))):
            parents[int(path.name)] = int(stat[1])
    found = [pid]
    for known in found:
        found += [child for child, parent in parents.items() if parent == known]
    return found[1:]


def alive(pid: int) -> bool:
    """False also for a process that has ended and that nobody has waited for."""
    stat = _stat(pid)
    return bool(stat) and stat[0] not in "ZX"
