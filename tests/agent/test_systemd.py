import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock_agent.systemd import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(tmp_path / "notify"))
        s.settimeout(5)
        yield s


def notifier(environ: dict[str, str]) -> Notifier:
    return Notifier.from_environ(environ)


def test_says_ready_with_a_status(manager: socket.socket) -> None:
    n = notifier({"NOTIFY_SOCKET": manager.getsockname()})
    n.ready("configuration and key are good")
    assert manager.recv(4096) == b"READY=1\nSTATUS=configuration and key are good"
    n.close()


def test_says_status_stopping_reloading_and_watchdog(manager: socket.socket) -> None:
    n = notifier({"NOTIFY_SOCKET": manager.getsockname()})
    n.status("linked")
    n.watchdog()
    n.reloading()
    n.stopping()
    assert [manager.recv(4096) for _ in range(4)] == [
        b"STATUS=linked",
        b"WATCHDOG=1",
        b"RELOADING=1",
        b"STOPPING=1",
    ]
    n.close()


def test_a_status_cannot_carry_another_assignment(manager: socket.socket) -> None:
    n = notifier({"NOTIFY_SOCKET": manager.getsockname()})
    n.status("down\nMAINPID=1")
    assert manager.recv(4096) == b"STATUS=down MAINPID=1"
    n.close()


def test_speaks_to_abstract_sockets() -> None:
    name = f"penstock-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind("\0" + name)
        s.settimeout(5)
        n = notifier({"NOTIFY_SOCKET": "@" + name})
        n.ready()
        assert s.recv(100) == b"READY=1"
        n.close()


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_without_a_service_manager_nothing_happens(environ: dict[str, str]) -> None:
    n = notifier(environ)
    n.ready("x")
    n.watchdog()
    assert n.watchdog_s is None


def test_a_manager_that_is_gone_does_no_harm(tmp_path: Path) -> None:
    n = notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    n.ready("x")
    n.close()
    n.status("still no harm")


def test_a_full_queue_does_not_block(manager: socket.socket) -> None:
    n = notifier({"NOTIFY_SOCKET": manager.getsockname()})
    for _ in range(2000):
        n.status("x" * 500)
    n.close()


def test_watchdog_is_for_us_only() -> None:
    ours = {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
    assert notifier(dict(ours)).watchdog_s == 30.0
    assert notifier({"WATCHDOG_USEC": "30000000"}).watchdog_s == 30.0
    assert notifier(ours | {"WATCHDOG_PID": "1"}).watchdog_s is None
    assert notifier({"WATCHDOG_USEC": "soon"}).watchdog_s is None


def test_what_the_manager_told_us_is_gone_before_any_child_starts() -> None:
    environ = {
        "NOTIFY_SOCKET": "/nowhere",
        "WATCHDOG_USEC": "1",
        "WATCHDOG_PID": "1",
        "CREDENTIALS_DIRECTORY": "/run/credentials",
        "LISTEN_PID": "1",
        "LISTEN_FDS": "1",
        "LISTEN_FDNAMES": "x",
        "PATH": "/bin",
        "RUNTIME_DIRECTORY": "/run/penstock-agent",
    }
    notifier(environ).close()
    assert environ == {"PATH": "/bin", "RUNTIME_DIRECTORY": "/run/penstock-agent"}
