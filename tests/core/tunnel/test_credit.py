import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.tunnel.credit import QUICK, AnswerWindow, Budget, SendWindow, beyond
from penstock.tunnel.errors import CloseCode, RemoteError
from penstock.tunnel.limits import FREE_WINDOW, MAX_DATA, MAX_WINDOW

BLOB = bytes(range(256)) * 2048


@given(st.binary(max_size=50), st.integers(0, 60), st.integers(0, 60))
def test_only_what_continues_a_stream_is_taken(data: bytes, offset: int, have: int) -> None:
    stream = bytes(have) + beyond(data, offset, have)
    if offset <= have:
        assert len(stream) == max(have, offset + len(data))
        assert stream[have:] == (bytes(offset) + data)[have:]
    else:
        assert len(stream) == have


# -- budgets -----------------------------------------------------------------------------------------


def test_a_budget_gives_what_it_has_and_no_more() -> None:
    budget = Budget(10)
    assert budget.take(4)
    assert not budget.take(7)
    assert budget.take(6)
    budget.give_back(100)
    assert budget.left == 10


# -- sending -----------------------------------------------------------------------------------------

operations = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 40_000)),
        st.tuples(st.just("chunk"), st.integers(1, MAX_DATA)),
        st.tuples(st.just("credit"), st.integers(0, 100)),
        st.tuples(st.just("cut"), st.integers(0, 100)),
    ),
    max_size=60,
)


@given(operations)
def test_a_window_never_sends_above_its_limit_and_always_the_right_bytes(ops: list[tuple[str, int]]) -> None:
    window = SendWindow()
    arrived = b""
    written = 0
    for op, n in ops:
        if op == "write":
            window.write(BLOB[written : written + n])
            written = min(written + n, len(BLOB))
        elif op == "chunk":
            at = window.next
            data = window.chunk(n)
            assert len(data) <= n
            arrived += beyond(data, at, len(arrived))
        elif op == "credit":
            have = len(arrived) * n // 100
            window.credit(have, have + FREE_WINDOW)
        else:
            window.rewind(len(arrived) * n // 100)
        assert window.have <= window.next <= max(window.limit, window.have)
        assert window.sent <= window.limit
        assert window.sent - window.have <= MAX_WINDOW
        assert arrived == BLOB[: len(arrived)]
        assert window.length == written
        assert window.unsent == written - window.sent
    while window.ready() or len(arrived) < written:
        window.credit(len(arrived), len(arrived) + FREE_WINDOW)
        at = window.next
        arrived += beyond(window.chunk(MAX_DATA), at, len(arrived))
    assert arrived == BLOB[:written]


def test_credit_above_where_it_was_rewound_to_is_skipped() -> None:
    window = SendWindow()
    window.write(BLOB[:60_000])
    while window.chunk(MAX_DATA):
        pass
    window.rewind(100)
    window.credit(50_000, 100_000)
    assert window.next == 50_000
    assert window.chunk(MAX_DATA) == BLOB[50_000:60_000]


@pytest.mark.parametrize(
    ("have", "limit"),
    [(11, 100), (5, 4), (0, MAX_WINDOW + 1), (10, 10 + MAX_WINDOW + 1), (2**64 - 1, 2**64 - 1)],
)
def test_credit_that_cannot_be_true_closes_the_link(have: int, limit: int) -> None:
    window = SendWindow()
    window.write(bytes(10))
    window.chunk(MAX_DATA)
    with pytest.raises(RemoteError) as caught:
        window.credit(have, limit)
    assert caught.value.code is CloseCode.CREDIT


def test_credit_that_is_repeated_or_old_does_no_harm() -> None:
    window = SendWindow()
    window.write(BLOB[:200_000])
    while window.chunk(MAX_DATA):
        pass
    window.credit(50_000, 100_000)
    window.credit(10_000, 70_000)
    window.credit(50_000, 100_000)
    assert (window.have, window.limit) == (50_000, 100_000)


def test_the_first_64_kib_are_granted_whatever_was_said() -> None:
    assert SendWindow(0).limit == FREE_WINDOW
    assert SendWindow(100_000).limit == 100_000


def test_what_the_peer_has_for_good_is_not_kept() -> None:
    window = SendWindow()
    for at in range(0, 60_000, 1000):
        window.write(BLOB[at : at + 1000])
    while window.chunk(MAX_DATA):
        pass
    window.credit(60_000, 120_000)
    assert not window._chunks


def test_small_writes_are_kept_together() -> None:
    window = SendWindow()
    for _ in range(10_000):
        window.write(b"x")
    assert len(window._chunks) == 1


@given(st.lists(st.integers(1, 30_000), max_size=8), st.integers(0, 10))
def test_a_stream_that_breaks_off_ends_where_it_was_sent_to(writes: list[int], chunks: int) -> None:
    window = SendWindow()
    written = 0
    for n in writes:
        window.write(BLOB[written : written + n])
        written += n
    for _ in range(chunks):
        window.chunk(MAX_DATA)
    window.truncate()
    assert window.length == window.sent
    window.rewind(0)
    again = b""
    while data := window.chunk(MAX_DATA):
        again += data
    assert again == BLOB[: window.sent]


# -- the answer, at the origin -----------------------------------------------------------------------


def test_bytes_above_the_credit_close_the_link() -> None:
    window = AnswerWindow()
    window.arrived(FREE_WINDOW)
    with pytest.raises(RemoteError) as caught:
        window.arrived(1)
    assert caught.value.code is CloseCode.CREDIT


def test_a_quick_reader_gets_a_larger_window_up_to_4_mib_and_the_budgets_come_back() -> None:
    budgets = Budget(1 << 30), Budget(1 << 30)
    window = AnswerWindow(budgets)
    now = 0.0
    for _ in range(4000):
        n = window.told() - window.received
        window.arrived(n)
        window.took(n, now)
        now += QUICK / 100
    assert window.window == MAX_WINDOW
    assert budgets[0].total - budgets[0].left == MAX_WINDOW - FREE_WINDOW
    window.release()
    window.release()
    assert all(b.left == b.total for b in budgets)


def test_a_slow_reader_keeps_the_free_window() -> None:
    budget = Budget(1 << 30)
    window = AnswerWindow((budget,))
    for second in range(1000):
        window.arrived(window.told() - window.received)
        window.took(4096, float(second))
    assert window.window == FREE_WINDOW
    assert budget.left == budget.total


@pytest.mark.parametrize("totals", [(0, 1 << 30), (1 << 30, 0)])
def test_a_window_grows_only_when_both_budgets_last(totals: tuple[int, int]) -> None:
    budgets = Budget(totals[0]), Budget(totals[1])
    window = AnswerWindow(budgets)
    for _ in range(100):
        n = window.told() - window.received
        window.arrived(n)
        window.took(n, 0.0)
    assert window.window == FREE_WINDOW
    assert (budgets[0].left, budgets[1].left) == totals


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100), st.floats(0, 2)), max_size=80))
def test_no_more_than_the_window_ever_lies_between_the_caller_and_the_limit(
    moves: list[tuple[int, int, float]],
) -> None:
    window = AnswerWindow((Budget(1 << 22),))
    now = 0.0
    for arrive, take, pause in moves:
        n = (window.told() - window.received) * arrive // 100
        window.arrived(n)
        before = window.limit
        now += pause
        window.took((window.received - window.taken) * take // 100, now)
        assert before <= window.limit <= window.taken + MAX_WINDOW
        assert window.limit - window.received <= MAX_WINDOW
        assert window.received - window.taken <= window.window
