"""A reader that takes too little for too long is too slow; one without anything to take never is."""

from penstock_relay.edge.slow import Reader

LEAST = 64 * 1024


def test_a_reader_that_takes_nothing_is_too_slow_when_the_time_is_over() -> None:
    reader = Reader(0.0, LEAST, 180.0)
    assert not reader.too_slow(179.9, 1_000_000, 1_000_000)
    assert reader.too_slow(180.0, 1_000_000, 1_000_000)


def test_a_reader_that_takes_just_enough_in_each_window_goes_on() -> None:
    reader = Reader(0.0, LEAST, 180.0)
    for turn in range(1, 20):
        assert not reader.too_slow(turn * 179.0, 10_000_000, 10_000_000 - turn * LEAST)


def test_a_reader_that_takes_one_byte_less_is_too_slow() -> None:
    reader = Reader(0.0, LEAST, 180.0)
    assert not reader.too_slow(90.0, 1_000_000, 1_000_000 - (LEAST - 1))
    assert reader.too_slow(180.0, 1_000_000, 1_000_000 - (LEAST - 1))


def test_the_window_starts_again_with_each_step_of_progress() -> None:
    reader = Reader(0.0, LEAST, 180.0)
    assert not reader.too_slow(170.0, 1_000_000, 1_000_000 - LEAST)
    assert not reader.too_slow(349.9, 1_000_000, 1_000_000 - LEAST)
    assert reader.too_slow(350.0, 1_000_000, 1_000_000 - LEAST)


def test_a_reader_for_whom_nothing_waits_is_never_too_slow() -> None:
    reader = Reader(0.0, LEAST, 180.0)
    assert not reader.too_slow(10_000.0, 500, 0)
    assert not reader.too_slow(10_100.0, 600, 100)
    assert reader.too_slow(10_180.0, 600, 100)
