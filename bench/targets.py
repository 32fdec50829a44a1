"""What is measured: the same stdio server, once behind Penstock, once behind mcp-proxy behind `ssh -R`."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Root
from tests.harness.stack import Server, Stack

ROOT = Path(__file__).resolve().parents[1]
SERVER = [sys.executable, "-I", str(ROOT / "bench" / "echo_server.py")]
MCP_PROXY = ROOT / ".env" / "mcp-proxy" / "bin" / "mcp-proxy"
SSHD = "/usr/sbin/sshd"
START_S = 20.0


class CannotMeasure(Exception):
    """A target cannot be brought up here; the text says why and what to do."""


@dataclass(frozen=True)
class Target:
    name: str
    url: str
    token: str
    roots: Mapping[str, Root]


@contextlib.contextmanager
def penstock() -> Iterator[Target]:
    """Relay and agent, as `penstock-relay serve` and `penstock-agent run` start them."""
    with Stack({"echo": Server(SERVER, ["*"])}) as stack:
        roots = {"relay": Root(stack.relay.pid), "agent": Root(stack.agent.program.pid)}
        yield Target("Penstock", stack.url("echo"), stack.token, roots)


@contextlib.contextmanager
def ssh_mcp_proxy() -> Iterator[Target]:
    """mcp-proxy beside the server, and `ssh -R` from there to an sshd of our own with keys of its own."""
    for program in (SSHD, "ssh", "ssh-keygen"):
        if shutil.which(program) is None:
            raise CannotMeasure(f"{program} is missing. Run: apt install openssh-server openssh-client")
    if not MCP_PROXY.exists():
        raise CannotMeasure("mcp-proxy is missing. Start the bench with ./dev bench, which installs it.")
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        proxy_port, sshd_port = _free_port(), _free_port()
        proxy = stack.enter_context(
            _running(
                [
                    str(MCP_PROXY),
                    "--host",
                    "127.0.0.1",
                    "--port",
                    str(proxy_port),
                    "--log-level",
                    "ERROR",
                    "--",
                    *SERVER,
                ],
                folder / "mcp-proxy.log",
            )
        )
        _wait("mcp-proxy", proxy, folder / "mcp-proxy.log", lambda: _accepts(proxy_port))
        config = _sshd_config(folder, sshd_port)
        sshd = stack.enter_context(_running([SSHD, "-D", "-e", "-f", str(config)], folder / "sshd.log"))
        _wait("sshd", sshd, folder / "sshd.log", lambda: _accepts(sshd_port))
        log = folder / "ssh.log"
        ssh = stack.enter_context(_running(_ssh(folder, sshd_port, proxy_port), log))
        try:
            _wait("ssh -R", ssh, log, lambda: _allocated(log) is not None)
        except CannotMeasure as error:
            raise CannotMeasure(_explain(str(error), folder / "sshd.log")) from None
        roots = {"sshd": Root(sshd.pid, whole=True), "ssh": Root(ssh.pid), "mcp-proxy": Root(proxy.pid)}
        yield Target("ssh -R + mcp-proxy", f"http://127.0.0.1:{_allocated(log)}/mcp", "none", roots)


def _sshd_config(folder: Path, port: int) -> Path:
    for key in ("host", "user"):
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
        subprocess.run(argv, check=True, timeout=START_S)
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    host_key = (folder / "host.pub").read_text().split()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key[0]} {host_key[1]}\n")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd refuses to start as root without it
    config = folder / "sshd_config"
    config.write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder / 'host'}\n"
        f"AuthorizedKeysFile {folder / 'authorized_keys'}\nPidFile none\nUsePAM no\nStrictModes no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
        "AllowTcpForwarding remote\nLogLevel VERBOSE\n"
    )
    return config


def _ssh(folder: Path, sshd_port: int, proxy_port: int) -> list[str]:
    options = {
        "BatchMode": "yes",
        "ExitOnForwardFailure": "yes",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "UserKnownHostsFile": str(folder / "known_hosts"),
        "ConnectTimeout": "10",
    }
    given = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    forward = f"127.0.0.1:0:127.0.0.1:{proxy_port}"  # the far end picks a free port and tells it
    where = ["-p", str(sshd_port), f"{getpass.getuser()}@127.0.0.1"]
    return ["ssh", "-F", "none", "-N", "-T", *given, "-i", str(folder / "user"), "-R", forward, *where]


def _explain(error: str, sshd_log: Path) -> str:
    if "account is locked" in sshd_log.read_text(errors="replace"):
        user = getpass.getuser()
        return (
            f"sshd refuses to log in {user}: the account's password is locked ('!' in the shadow file). Run "
            f"the bench as a user who can log in, or unlock the account: usermod -p '*' {user}"
        )
    return error


def _allocated(log: Path) -> str | None:
    """The port that sshd picked: `Allocated port 40123 for remote forward to 127.0.0.1:8000`."""
    for line in log.read_text(errors="replace").splitlines():
        if line.startswith("Allocated port "):
            return line.split()[2]
    return None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _running(argv: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def _wait(what: str, process: subprocess.Popen[bytes], log: Path, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_S
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            state = "is not ready" if process.poll() is None else f"ended with status {process.returncode}"
            raise CannotMeasure(f"{what} {state}:\n{tail}")
        time.sleep(0.05)
