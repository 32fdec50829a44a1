"""The proxy that the link's tests trust to break things must break them, and only them."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.harness.fault_proxy import FaultProxy, Way


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """A server that sends back what it gets, and ends when the client does."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads = []

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    connection.sendall(data)
            except OSError:
                pass

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=serve, args=(connection,), daemon=True)
            thread.start()
            threads.append(thread)

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    yield listener.getsockname()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for thread in (accepting, *threads):
        thread.join(10)


@pytest.fixture
def proxy(echo: tuple[str, int]) -> Iterator[FaultProxy]:
    with FaultProxy(echo) as running:
        yield running


def dial(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(proxy.address, timeout=10)


def ask(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    answer = b""
    while len(answer) < len(data):
        got = connection.recv(65536)
        if not got:
            raise ConnectionError("ended early")
        answer += got
    return answer


def test_without_a_fault_bytes_pass_and_ends_pass(proxy: FaultProxy) -> None:
    with dial(proxy) as connection:
        assert ask(connection, b"x" * 300_000) == b"x" * 300_000
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    proxy.wait(lambda p: p.connections == 0)
    assert proxy.carried == {Way.UP: 300_000, Way.DOWN: 300_000}


def test_a_cut_resets_what_stands_and_lets_the_next_connection_through(proxy: FaultProxy) -> None:
    with dial(proxy) as connection:
        ask(connection, b"a")
        assert proxy.cut() == 1
        with pytest.raises(ConnectionError):
            ask(connection, b"b")
    with dial(proxy) as connection:
        assert ask(connection, b"c") == b"c"


def test_a_refusing_cut_lasts_until_it_is_healed(proxy: FaultProxy) -> None:
    proxy.cut(refuse=True)
    with pytest.raises(ConnectionError), dial(proxy) as connection:
        ask(connection, b"a")
    proxy.heal()
    with dial(proxy) as connection:
        assert ask(connection, b"b") == b"b"


@pytest.mark.parametrize("way", [Way.UP, Way.DOWN, Way.BOTH])
def test_a_stall_says_nothing_and_loses_nothing(proxy: FaultProxy, way: Way) -> None:
    with dial(proxy) as connection:
        ask(connection, b"a")
        proxy.stall(way)
        connection.sendall(b"late")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(10)
        proxy.heal()
        assert ask(connection, b"r")[:1] == b"l"


def test_a_half_close_ends_one_direction_only(proxy: FaultProxy) -> None:
    with dial(proxy) as connection:
        ask(connection, b"a")
        proxy.half_close(Way.DOWN)
        assert connection.recv(1) == b""
        before = proxy.carried[Way.UP]
        connection.sendall(b"more")
        proxy.wait(lambda p: p.carried[Way.UP] == before + 4)


def test_delay_and_rate_slow_what_passes(proxy: FaultProxy) -> None:
    with dial(proxy) as connection:
        proxy.shape(delay_s=0.1)
        began = time.monotonic()
        ask(connection, b"a")
        assert time.monotonic() - began >= 0.2
        proxy.shape(bytes_per_s=100_000)
        began = time.monotonic()
        ask(connection, b"x" * 40_000)
        assert time.monotonic() - began >= 0.4
        proxy.heal()
        began = time.monotonic()
        ask(connection, b"x" * 40_000)
        assert time.monotonic() - began < 0.4


def test_an_end_of_the_proxy_ends_its_connections(echo: tuple[str, int]) -> None:
    with FaultProxy(echo) as proxy:
        connection = dial(proxy)
        ask(connection, b"a")
        proxy.stall()
    with connection, pytest.raises(ConnectionError):
        ask(connection, b"b")
