"""The program of a server's unit, over a real connection, as systemd would start it."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock_agent.children.confinement import kernel
from tests.agent.children.kit import dead_within
from tests.harness.unit_host import SETTINGS, TOKEN, UnitHost

HELLO = f"penstock-unit/1 {TOKEN} {SETTINGS}\n".encode()
PYTHON = [sys.executable, "-I", "-S", "-c"]
ENVIRONMENT = [*PYTHON, "import json, os; print(json.dumps(dict(os.environ)))"]


@contextmanager
def connected(host: UnitHost, hello: bytes = HELLO) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as mine:
        mine.settimeout(20)
        mine.connect(str(host.path))
        mine.sendall(hello)
        yield mine


def everything(mine: socket.socket) -> bytes:
    found = b""
    while data := mine.recv(65536):
        found += data
    return found


def test_what_follows_the_first_line_is_the_servers_alone(tmp_path: Path) -> None:
    with UnitHost(tmp_path, ["cat"]) as host, connected(host, HELLO + b"one\ntwo\n") as mine:
        mine.shutdown(socket.SHUT_WR)
        assert everything(mine) == b"ok\none\ntwo\n"
        assert host.instance().wait(20) == 0


def test_credentials_become_variables_and_nothing_of_systemd_does(tmp_path: Path) -> None:
    with UnitHost(tmp_path, ENVIRONMENT) as host:
        (host.credentials / "env.API_TOKEN").write_text("s3cret\n")
        with connected(host) as mine:
            ok, _, line = everything(mine).partition(b"\n")
    assert ok == b"ok"
    env = json.loads(line)
    assert env["API_TOKEN"] == "s3cret"
    assert set(env) - {"LC_CTYPE"} == {"PATH", "HOME", "TMPDIR", "API_TOKEN"}
    assert (tmp_path / "tmp").is_dir()


@pytest.mark.parametrize(
    ("hello", "answer"),
    [
        (b"penstock-unit/1 " + b"b2" * 32 + b" " + SETTINGS.encode() + b"\n", b"no token 0\n"),
        (b"penstock-unit/1 " + TOKEN.encode() + b" other\n", b"no settings 0\n"),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n', b"no hello 0\n"),
        (b"x" * 600, b"no hello 0\n"),
    ],
    ids=["another token", "other settings", "no greeting", "an endless line"],
)
def test_who_cannot_say_the_right_words_gets_no_server(tmp_path: Path, hello: bytes, answer: bytes) -> None:
    with UnitHost(tmp_path, [*PYTHON, "open('ran', 'w')"]) as host, connected(host, hello) as mine:
        mine.shutdown(socket.SHUT_WR)
        assert mine.recv(100) == answer
        assert host.instance().wait(20) == 1
        assert "not started" in host.said.read_text()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("command", "answer"),
    [("no-such-tool", b"no path 0\n"), ("/no/such", b"no missing 0\n"), ("/etc/passwd", b"no exec 13\n")],
)
def test_a_program_that_is_not_there_is_said(tmp_path: Path, command: str, answer: bytes) -> None:
    with UnitHost(tmp_path, [command]) as host, connected(host) as mine:
        assert everything(mine) == answer


def test_a_secret_that_is_no_text_is_said_by_name(tmp_path: Path) -> None:
    with UnitHost(tmp_path, ["cat"]) as host:
        (host.credentials / "env.KEY").write_bytes(b"\xff\xff")
        with connected(host) as mine:
            assert everything(mine) == b"no credential 0 env.KEY\n"


def test_a_server_that_ends_takes_the_unit_with_it_and_its_status(tmp_path: Path) -> None:
    with UnitHost(tmp_path, [*PYTHON, "raise SystemExit(7)"]) as host, connected(host) as mine:
        assert everything(mine) == b"ok\n"
        assert host.instance().wait(20) == 7


def test_a_server_that_minds_neither_its_input_nor_a_signal_ends_with_the_connection(tmp_path: Path) -> None:
    stubborn = (
        "import os, signal; signal.signal(15, signal.SIG_IGN); print(os.getpid(), flush=True); signal.pause()"
    )
    with UnitHost(tmp_path, [*PYTHON, stubborn]) as host:
        with connected(host) as mine:
            lines = b""
            while lines.count(b"\n") < 2:
                lines += mine.recv(100)
        assert dead_within(int(lines.split()[1]), 20)
        assert host.instance().wait(20) == 0


def test_only_the_ports_that_are_named_can_be_connected_to(tmp_path: Path) -> None:
    if kernel.look().landlock < 4:
        pytest.skip("needs Landlock that knows ports (Linux 6.7)")
    with socket.create_server(("127.0.0.1", 0)) as named, socket.create_server(("127.0.0.1", 0)) as other:
        ports = [each.getsockname()[1] for each in (named, other)]
        script = (
            "import socket\n"
            f"for port in {ports}:\n"
            "    try: socket.create_connection(('127.0.0.1', port)).close(); print('connected')\n"
            "    except OSError as error: print(error.strerror)\n"
            "try: socket.socket().bind(('127.0.0.1', 0)); print('bound')\n"
            "except OSError as error: print(error.strerror)\n"
        )
        with UnitHost(tmp_path, [f"--tcp={ports[0]}", *PYTHON, script]) as host, connected(host) as mine:
            assert everything(mine) == b"ok\nconnected\nPermission denied\nPermission denied\n"


def test_where_the_addresses_are_not_enforced_no_server_is_started(tmp_path: Path) -> None:
    """As here, where no systemd filters anything."""
    command = ["--deny=127.255.255.254", *PYTHON, "open('ran', 'w')"]
    with UnitHost(tmp_path, command) as host, connected(host) as mine:
        assert everything(mine) == b"no addresses 0\n"
        assert host.instance().wait(20) == 1
    assert not (tmp_path / "ran").exists()
