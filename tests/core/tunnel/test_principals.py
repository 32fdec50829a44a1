from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.tunnel import limits
from penstock.tunnel.errors import RemoteError
from penstock.tunnel.frames import Principal
from penstock.tunnel.principals import Principals


def digest(n: int) -> bytes:
    return n.to_bytes(32, "big")


def test_the_oldest_is_forgotten_above_the_count() -> None:
    known = Principals()
    for n in range(limits.PRINCIPALS):
        known.add(digest(n), b"x")
    assert known.use(digest(0)) == b"x"
    known.add(digest(limits.PRINCIPALS), b"x")
    assert len(known) == limits.PRINCIPALS
    assert known.use(digest(0)) == b"x"
    assert known.use(digest(1)) is None


def test_the_oldest_are_forgotten_above_the_bytes() -> None:
    known = Principals()
    most = limits.PRINCIPAL_BYTES // limits.MAX_PRINCIPAL
    for n in range(most + 2):
        known.add(digest(n), bytes(limits.MAX_PRINCIPAL))
    assert len(known) == most
    assert known.use(digest(1)) is None
    assert known.use(digest(2)) is not None


def test_bytes_are_counted_once_however_often_one_is_added() -> None:
    known = Principals()
    for _ in range(1000):
        known.add(digest(1), bytes(limits.MAX_PRINCIPAL))
    known.add(digest(2), b"x")
    assert len(known) == 2
    known.forget(digest(1))
    known.forget(digest(1))
    assert len(known) == 1


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 1500), st.sampled_from((10, 40_000))), max_size=60),
    st.integers(0, 1024),
)
def test_both_ends_forget_alike(uses: list[tuple[int, int]], before: int) -> None:
    # The origin's rule and the agent's, as they stand in `Exchange.pump` and `Agent.frame`.
    origin, agent = Principals(), Principals()
    calls = [(n + 2000, 10) for n in range(before)] + uses
    for n, size in calls:
        if origin.use(digest(n)) is None:
            origin.add(digest(n), bytes(size))
            agent.add(digest(n), bytes(size))
        assert agent.use(digest(n)) is not None
        assert len(origin) == len(agent)


@given(st.binary(max_size=100))
def test_any_content_is_three_parts_or_malformed(content: bytes) -> None:
    try:
        parts = Principal.unpack(content)
    except RemoteError:
        return
    assert Principal.pack(*parts) == content
