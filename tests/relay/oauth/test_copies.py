from __future__ import annotations

from penstock_relay.oauth.copies import (
    FAILED_S,
    FRESH_S,
    MAX_COPIES,
    MAX_FAILURES,
    MAX_USED,
    STALE_S,
    Copies,
)

URL = "https://client.example/a.json"


def test_a_copy_is_fresh_then_stale_then_nothing() -> None:
    copies = Copies()
    assert copies.fresh(URL, 0.0) is copies.stale(URL, 0.0) is None
    copies.keep(URL, b"1", 100.0)
    assert copies.fresh(URL, 100.0 + FRESH_S - 1) == b"1"
    assert copies.fresh(URL, 100.0 + FRESH_S) is None
    assert copies.stale(URL, 100.0 + STALE_S - 1) == b"1"
    assert copies.age(URL, 150.0) == 50.0
    assert copies.stale(URL, 100.0 + STALE_S) is None


def test_failures_do_not_make_a_copy_younger() -> None:
    copies = Copies()
    copies.keep(URL, b"1", 0.0)
    for now in range(0, int(STALE_S), 3600):
        copies.fail(URL, "late", float(now), withdrawn=False)
    assert copies.stale(URL, STALE_S) is None


def test_a_failure_is_known_for_a_moment_and_a_success_ends_it() -> None:
    copies = Copies()
    copies.fail(URL, "late", 0.0, withdrawn=False)
    assert copies.failed(URL, FAILED_S - 1) == "late"
    assert copies.failed(URL, FAILED_S) is None
    copies.keep(URL, b"1", 1.0)
    assert copies.failed(URL, 1.0) is None


def test_what_was_withdrawn_is_gone_at_once() -> None:
    copies = Copies()
    copies.keep(URL, b"1", 0.0)
    copies.fail(URL, "none", 1.0, withdrawn=True)
    assert copies.fresh(URL, 1.0) is copies.stale(URL, 1.0) is None


def test_strangers_push_out_each_other_and_never_what_is_in_use() -> None:
    copies = Copies()
    copies.keep(URL, b"1", 0.0)
    copies.use(URL)
    for number in range(MAX_COPIES * 2):
        copies.keep(f"https://h{number}.example/x", b"x", 1.0)
    assert copies.fresh(URL, 1.0) == b"1"
    assert len(copies._copies) == MAX_COPIES
    assert copies.fresh("https://h0.example/x", 1.0) is None
    copies.keep(URL, b"2", 2.0)  # a newer copy is in use as well
    for number in range(MAX_COPIES * 2):
        copies.keep(f"https://i{number}.example/x", b"x", 3.0)
    assert copies.fresh(URL, 3.0) == b"2"


def test_which_hosts_are_in_use() -> None:
    copies = Copies()
    copies.keep(URL, b"1", 0.0)
    copies.use("https://another.example/x")  # nothing is kept of it
    assert not copies.knows("client.example")
    copies.use(URL)
    assert copies.knows("client.example")
    assert not copies.knows("another.example")


def test_not_everything_can_be_in_use() -> None:
    copies = Copies()
    for number in range(MAX_COPIES):
        copies.keep(f"https://h{number}.example/x", b"x", 0.0)
        copies.use(f"https://h{number}.example/x")
    assert sum(copies.knows(f"h{number}.example") for number in range(MAX_COPIES)) == MAX_USED
    copies.keep(URL, b"1", 1.0)
    assert copies.fresh(URL, 1.0) == b"1"


def test_failures_are_bounded() -> None:
    copies = Copies()
    for number in range(MAX_FAILURES + 50):
        copies.fail(f"https://h{number}.example/x", "late", 0.0, withdrawn=False)
    assert len(copies._failures) == MAX_FAILURES
    assert copies.failed("https://h0.example/x", 0.0) is None
    assert copies.failed(f"https://h{MAX_FAILURES + 49}.example/x", 0.0) == "late"
