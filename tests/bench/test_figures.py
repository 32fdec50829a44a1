"""What the bench concludes from what it measured."""

import os

import pytest

from bench import figures, load, processes
from bench.figures import Run


def run(target: str, callers: int, round: int, calls: int, cpu: float) -> Run:
    return figures.make_run(target, callers, round, 2.0, [0.010] * calls, {"relay": cpu * calls / 1000}, 0.0)


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert [figures.percentile(values, part) for part in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert figures.percentile([7.0], 0.99) == 7
    with pytest.raises(ValueError, match="no call"):
        figures.percentile([], 0.5)


def test_a_ratio_is_of_one_round_and_the_median_of_rounds_is_told() -> None:
    # The machine was three times as fast in round 1: the ratio does not move.
    runs = [run("us", 16, n, 300 * f, 0.1) for n, f in enumerate((1, 3, 1))]
    runs += [run("them", 16, n, 100 * f, 0.4) for n, f in enumerate((1, 3, 2))]
    (ratio,) = figures.ratios(runs, "us", "them")
    assert ratio.rate == pytest.approx(3.0)
    assert ratio.cpu == pytest.approx(0.25)


@pytest.mark.parametrize(("rate", "cpu", "met"), [(250, 0.5, True), (249, 0.5, False), (250, 0.51, False)])
def test_the_bar_needs_both_speed_and_thrift_at_sixteen_callers(rate: int, cpu: float, met: bool) -> None:
    runs = [run("us", 16, 0, rate, cpu), run("them", 16, 0, 100, 1.0)]
    runs += [run("us", 64, 0, 10, 9.0), run("them", 64, 0, 100, 1.0)]
    assert figures.meets_bar(figures.ratios(runs, "us", "them")) is met


def test_cpu_of_this_process_is_counted_under_its_name_or_its_parents() -> None:
    before = processes.snapshot({"me": processes.Root(os.getpid())})
    while processes.snapshot({"me": processes.Root(os.getpid())})["me"] == before["me"]:
        sum(range(10_000))
    parent = processes.snapshot({"parent": processes.Root(os.getppid())})
    whole = processes.snapshot({"parent": processes.Root(os.getppid(), whole=True)})
    assert parent["children"] >= before["me"]
    assert whole["parent"] >= parent["parent"]
    assert whole["children"] == 0


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1;x=y\r\n!\r\n0\r\n\r\n",
            200,
            b"hi!",
        ),
        (b"HTTP/1.1 202 Accepted\r\nServer: x\r\n\r\n", 202, b""),
    ],
)
def test_the_load_reads_an_answer_once_it_is_whole(raw: bytes, status: int, body: bytes) -> None:
    answer = load.parse(bytearray(raw))
    assert answer is not None
    assert (answer.status, answer.body) == (status, body)
    if body:
        assert all(load.parse(bytearray(raw[:end])) is None for end in range(len(raw) - 3))
