"""What a connection costs, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

MEASURE = """
import asyncio, resource, sys
from pathlib import Path
from penstock import tls
from tests.harness.link_pair import meeting

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024

async def measure(folder):
    async with meeting(Path(folder)) as place:
        ends = [await place.pair() for _ in range(5)]
        before = resident()
        ends += [await place.pair() for _ in range(60)]
        print((resident() - before) // 60)
        for _, client in ends:
            client.transport.abort()

if sys.argv[2] == "small":
    tls.small_read_buffers()
asyncio.run(measure(sys.argv[1]))
"""


def test_small_read_buffers_save_most_of_the_memory_of_a_connection(tmp_path: Path) -> None:
    used = {}
    for kind in ("small", "large"):
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, str(tmp_path / kind), kind],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        used[kind] = int(done.stdout)
    assert used["small"] < 0.6 * used["large"], used
