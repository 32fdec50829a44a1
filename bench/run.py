"""`./dev bench`: Penstock and its nearest peer under the same load, interleaved, as ratios. See README.md."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench import figures, load, processes, targets  # noqa: E402 - found through the line above
from penstock import __version__  # noqa: E402
from tests.harness.stack import StackError  # noqa: E402 - found through the line above

LEVELS = (1, 16, 64)
RESULTS = ROOT / "bench" / "results"


def say(text: str) -> None:
    print(text, flush=True)


async def one(target: targets.Target, callers: list[load.Caller], round: int, seconds: float) -> figures.Run:
    """One measurement, after a short warm-up that is not counted."""
    await load.measure(callers, min(0.3, seconds / 4))
    cpu, busy, own = processes.snapshot(target.roots), processes.busy_seconds(), processes.own_seconds()
    began = time.perf_counter()
    latencies = await load.measure(callers, seconds)
    took = time.perf_counter() - began
    spent = {name: after - cpu[name] for name, after in processes.snapshot(target.roots).items()}
    foreign = processes.busy_seconds() - busy - (processes.own_seconds() - own) - sum(spent.values())
    return figures.make_run(
        target.name, len(callers), round, took, latencies, spent, max(0.0, foreign / took)
    )


async def measure(pair: Sequence[targets.Target], rounds: int, seconds: float) -> list[figures.Run]:
    """Every level of every round runs on both targets before the next; which goes first alternates."""
    say(f"opening {max(LEVELS)} MCP sessions on each path …")
    sessions = {each.name: await load.open_sessions(each.url, each.token, max(LEVELS)) for each in pair}
    runs = []
    for round in range(rounds):
        for level in LEVELS:
            for target in pair if round % 2 == 0 else reversed(pair):
                run = await one(target, sessions[target.name][:level], round, seconds)
                runs.append(run)
                figure = (
                    f"{run.rate:>7.0f} calls/s  p99 {run.p99_ms:>7.2f} ms  CPU {run.path_cpu_ms:.3f} ms/call"
                )
                say(f"  round {round + 1} of {rounds}, {level:>2} callers, {target.name:<20}{figure}")
    return runs


def peer_version() -> str:
    pins = [line for line in (ROOT / "bench" / "mcp-proxy.in").read_text().splitlines() if "==" in line]
    return " ".join(pins)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The callers share the cores with what is measured: the less they need, the better."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return None
    return new_event_loop


def save(runs: Sequence[figures.Run], found: Sequence[figures.Ratio], smoke: bool) -> Path:
    RESULTS.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    path = RESULTS / f"{now:%Y%m%dT%H%M%SZ}{'-smoke' if smoke else ''}.json"
    record = {
        "at": now.isoformat(),
        "smoke": smoke,
        "machine": {
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
        },
        "versions": {"penstock": __version__, "peer": peer_version()},
        "bar": {"callers": figures.BAR_CALLERS, "rate": figures.BAR_RATE, "cpu": figures.BAR_CPU},
        "met": figures.meets_bar(found),
        "ratios": [dataclasses.asdict(ratio) for ratio in found],
        "runs": [
            {**dataclasses.asdict(run), "rate": run.rate, "path_cpu_ms": run.path_cpu_ms} for run in runs
        ],
    }
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument(
        "--smoke", action="store_true", help="one short round: does it work at all, about 20 s"
    )
    parser.add_argument("--rounds", type=int, default=None, help="default 5")
    parser.add_argument("--seconds", type=float, default=None, help="of each measurement; default 4")
    options = parser.parse_args()
    rounds = options.rounds or (1 if options.smoke else 5)
    seconds = options.seconds or (1.5 if options.smoke else 4.0)
    try:
        with contextlib.ExitStack() as stack:
            say("starting both paths …")
            peer, ours = (stack.enter_context(make()) for make in (targets.ssh_mcp_proxy, targets.penstock))
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                runs = runner.run(measure([peer, ours], rounds, seconds))
    except KeyboardInterrupt:
        say("stopped")
        return 130
    except (targets.CannotMeasure, StackError, load.WrongAnswer, OSError, ExceptionGroup) as error:
        first: BaseException = error
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        words = "a caller waited in vain for an answer" if isinstance(first, TimeoutError) else str(first)
        print(f"./dev bench: {words or type(first).__name__}", file=sys.stderr)
        return 1
    found = figures.ratios(runs, ours.name, peer.name)
    met = figures.meets_bar(found)
    say("\n" + figures.table(runs, ours.name, peer.name))
    foreign = max(run.foreign_cores for run in runs)
    if foreign > 0.3:
        say(f"Other work kept up to {foreign:.1f} cores busy meanwhile: trust the ratios, and not the rest.")
    say(
        f"The bar: at {figures.BAR_CALLERS} callers at least {figures.BAR_RATE}x the calls/s at no more than "
        f"{figures.BAR_CPU}x the CPU per call: {'met' if met else 'MISSED'}."
    )
    say(f"Everything measured: {save(runs, found, options.smoke).relative_to(ROOT)}")
    # A smoke run is too short to judge by; it fails when something does not work.
    return 0 if met or options.smoke else 1


if __name__ == "__main__":
    sys.exit(main())
