import asyncio
import os
from pathlib import Path

from penstock_agent.children.launch import explain, instructions, launch
from tests.agent.children.kit import descriptors


async def test_a_launcher_that_is_discarded_leaves_nothing() -> None:
    before = descriptors()
    launched = launch()
    assert os.getpgid(launched.process.pid) == launched.process.pid
    launched.discard(asyncio.get_running_loop())
    assert launched.process.returncode is not None
    assert descriptors() == before


def test_instructions_say_their_length_and_end_every_part() -> None:
    told = instructions(("tool", "", "ü"), {"K": "a=b"}, Path("/srv"), ["oom 5"])
    length, _, body = told.partition(b" ")
    assert int(length) == len(body)
    assert body == "/srv\0003\0tool\0\0ü\0001\0K=a=b\0oom 5\0".encode()


def test_a_step_that_cannot_be_taken_is_told_with_what_to_change() -> None:
    def told(report: bytes) -> str:
        return explain(report, ("tool",), {}, Path("/"))

    assert told(b"place 2 read /srv/a b").startswith(
        "read names /srv/a b, which cannot be opened: No such file"
    )
    assert told(b"place 13 folder /s").startswith("its state folder cannot be opened: Permission denied")
    assert "it cannot be confined (step restrict): Operation not permitted" in told(b"confine 1 restrict")
    assert "add their folders to read" in told(b"exec 13")


def test_a_report_of_an_unknown_step_still_makes_a_sentence() -> None:
    assert explain(b"\xff 9x", ("tool",), {}, Path("/")).startswith("tool could not be started")
