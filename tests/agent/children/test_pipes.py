import asyncio
import os

from penstock_agent.children import pipes
from penstock_agent.children.lines import Oversize
from penstock_agent.children.pipes import LineReader, LineWriter
from tests.agent.children.kit import descriptors, until


def pipe() -> tuple[int, int]:
    """Neither end blocks."""
    reading, writing = os.pipe()
    pipes.grow(reading)
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    return reading, writing


async def everything(reader: LineReader) -> list[bytes | Oversize]:
    lines = []
    while (line := await reader.get()) is not None:
        lines.append(line)
    return lines


async def test_what_a_full_pipe_holds_at_the_end_is_delivered() -> None:
    reading, writing = pipe()
    ended: list[None] = []
    reader = LineReader(asyncio.get_running_loop(), reading, lambda: ended.append(None))
    line = b"x" * 1023
    count = 0
    while True:
        try:
            count += os.write(writing, line + b"\n") == 1024
        except BlockingIOError:
            break
    os.close(writing)
    reader.finish()
    assert count >= 2 * pipes.READ_SIZE // 1024
    assert await everything(reader) == [line] * count
    assert ended == []
    assert await reader.get() is None


async def test_the_end_of_the_output_is_told_once_when_it_comes_by_itself() -> None:
    reading, writing = pipe()
    ended: list[None] = []
    reader = LineReader(asyncio.get_running_loop(), reading, lambda: ended.append(None))
    os.write(writing, b"one\nhalf")
    os.close(writing)
    await until(lambda: bool(ended))
    reader.finish()
    reader.finish()
    assert await everything(reader) == [b"one"]
    assert ended == [None]


async def test_tiny_lines_count_for_what_they_cost() -> None:
    """A reader that counts bytes only would hold 64 times as much in memory as its bound says."""
    reading, writing = pipe()
    reader = LineReader(asyncio.get_running_loop(), reading, lambda: None, waiting_max=6400)
    os.write(writing, b"x\n" * 120)
    await until(lambda: reader.paused)
    assert reader.waiting == 120 * (pipes.LINE_COST + 1)
    for _ in range(80):
        assert await reader.get() == b"x"
    assert not reader.paused
    os.close(writing)
    reader.finish()


async def test_input_is_written_in_order_through_a_pipe_that_is_smaller() -> None:
    reading, writing = pipe()
    writer = LineWriter(asyncio.get_running_loop(), writing, waiting_max=1000)
    parts = [bytes([65 + number]) * 300_000 for number in range(5)]
    got = bytearray()

    def take() -> None:
        got.extend(os.read(reading, 65536))

    asyncio.get_running_loop().add_reader(reading, take)
    async with asyncio.TaskGroup() as tasks:
        for part in parts:
            tasks.create_task(writer.send(part))
    await until(lambda: len(got) == 1_500_000)
    assert bytes(got) == b"".join(parts)
    assert writer.waiting == 0
    asyncio.get_running_loop().remove_reader(reading)
    os.close(reading)
    writer.close()


async def test_a_broken_input_says_so_to_everybody_who_waits() -> None:
    before = descriptors()
    reading, writing = pipe()
    writer = LineWriter(asyncio.get_running_loop(), writing, waiting_max=1000)
    assert await writer.send(b"x" * (2 * pipes.PIPE_SIZE))
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(writer.send(b"more")) for _ in range(3)]
        await until(lambda: writer._turn.locked())
        os.close(reading)
        assert [await sent for sent in waiting] == [False, False, False]
    assert writer.closed
    assert not writer.put(b"late")
    writer.close()
    assert descriptors() == before
