"""Relay and agent as real processes on loopback: what end-to-end tests, the demo and the bench run against.

    with Stack({"time": Server(["mcp-server-time"], expose=["*"])}) as stack:
        stack.url("time"), stack.token

Certificates, tokens and ports are made per run in a temporary folder. Programs are started the way a user
starts them, by their console scripts, and configured the way a user configures them; but the tests run the
commands warm (warm.py).
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from penstock_agent.control.wire import SOCKET_NAME, TOKEN_NAME, Answer, Request
from tests.harness import warm
from tests.harness.family import Keeper
from tests.harness.fault_proxy import FaultProxy

START_S = 30.0
STOP_S = 15.0
TAIL_LINES = 40
ROOT = Path(__file__).parents[2]
#: And those of the package as it is installed here, which may be another checkout.
SOURCES = tuple(dict.fromkeys((ROOT, Path(sys.prefix).parent)))


class StackError(Exception):
    """A program did not do what it should; the text holds the ends of the logs."""


@dataclass(frozen=True)
class Server:
    """One `[servers.NAME]` table of agent.toml. Without a command, one of the network: see `settings`."""

    command: Sequence[str] = ()
    expose: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    """Further settings whose values are texts: url, transport, ca_file."""
    headers: Mapping[str, str] = field(default_factory=dict)
    read: Sequence[str | Path] = SOURCES
    """For one with a command: what it may see; the tests' own servers lie among the sources."""
    write: Sequence[str | Path] = ()


def console_script(name: str) -> str:
    """The program beside the running Python, as pip put it there."""
    return str(Path(sys.executable).parent / name)


def clean_environment() -> dict[str, str]:
    """Ours, without settings of Penstock and proxies, so that a developer's shell cannot change a result."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        env.pop(name, None)
        env.pop(name.lower(), None)
    env["PATH"] = str(Path(sys.executable).parent) + os.pathsep + env.get("PATH", os.defpath)
    return env


def until(what: str, deadline_s: float, condition: Callable[[], bool], every_s: float = 0.02) -> None:
    """Poll until a condition holds. Raises StackError. Other processes can be watched in no better way."""
    deadline = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > deadline:
            raise StackError(f"waited {deadline_s:.0f} s in vain for {what}")
        time.sleep(every_s)


class Program:
    """One process of ours with its log file; can be stopped, killed and started again."""

    def __init__(
        self, name: str, argv: Sequence[str], env: Mapping[str, str], folder: Path, keeper: Keeper
    ) -> None:
        self.name = name
        self._keeper = keeper
        self.argv = list(argv)
        self.env = dict(env)
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            # Its own session: Ctrl-C in the terminal is ours to turn into an orderly stop.
            self.process = subprocess.Popen(
                self.argv,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._keeper.watch(self.process.pid)

    @property
    def pid(self) -> int:
        if self.process is None:
            raise StackError(f"{self.name} has not been started")
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def check(self) -> bool:
        """True while it runs. Raises StackError once it has ended."""
        if not self.running:
            status = None if self.process is None else self.process.returncode
            raise StackError(f"{self.name} ended with status {status}")
        return True

    def stop(self) -> int:
        """SIGTERM, and its exit status. Raises StackError when it had to be killed."""
        if self.process is None:
            return 0
        self.process.terminate()
        try:
            status = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise StackError(f"{self.name} did not stop within {STOP_S:.0f} s of SIGTERM") from None
        self._keeper.forget(self.process.pid)
        return status

    def kill(self) -> None:
        """SIGKILL, as an out-of-memory killer does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(STOP_S)
            self._keeper.forget(self.process.pid)

    def tail(self) -> str:
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            lines = []
        return "\n".join([f"--- end of {self.log.name}", *lines[-TAIL_LINES:]])


class Agent:
    """One agent of the stack's site: its folder, its configuration, its process."""

    def __init__(
        self,
        name: str,
        folder: Path,
        servers: Mapping[str, Server],
        env: Mapping[str, str],
        keeper: Keeper,
        program: Sequence[str] | None = None,
    ) -> None:
        self.folder = folder / name
        self.folder.mkdir(mode=0o700)
        self.config = self.folder / "agent.toml"
        self.env = {
            **env,
            "PENSTOCK_AGENT_CONFIG": str(self.config),
            "PENSTOCK_AGENT_STATE_DIR": str(self.folder / "state"),
            "PENSTOCK_AGENT_RUNTIME_DIR": str(self.folder),
        }
        self.configure(servers)
        started = program or [console_script("penstock-agent")]
        self.program = Program(name, [*started, "run"], self.env, folder, keeper)

    def configure(self, servers: Mapping[str, Server]) -> None:
        """Write agent.toml. A running agent is not told."""
        parts = []
        for name, server in servers.items():
            # A JSON string or list of strings is TOML too.
            parts.append(f"[servers.{name}]")
            if server.command:
                parts.append(f"command = {json.dumps(list(server.command))}")
                for key, places in (("read", server.read), ("write", server.write)):
                    parts.append(f"{key} = {json.dumps([str(place) for place in places])}")
            parts += [f"{key} = {json.dumps(value)}" for key, value in server.settings.items()]
            if server.expose:
                parts.append(f"expose = {json.dumps(list(server.expose))}")
            for key, table in (("env", server.env), ("headers", server.headers)):
                pairs = ", ".join(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in table.items())
                if table:
                    parts.append(f"{key} = {{ {pairs} }}")
        self.config.write_text("\n".join(parts) + "\n")
        self.config.chmod(0o600)

    def cli(self, *arguments: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run `penstock-agent …` as this agent's administrator."""
        return _cli("penstock-agent", arguments, self.env, check, stdin)

    def status(self) -> dict[str, object]:
        """What `penstock-agent status --json` prints; its own status 1 says no link, and is no error here."""
        found = json.loads(self.cli("status", "--json", check=False).stdout)
        return found if isinstance(found, dict) else {}

    def start(self) -> None:
        """Start and wait for the link."""
        self.program.start()
        self.wait_linked()

    def wait_linked(self, deadline_s: float = START_S) -> None:
        def linked() -> bool:
            self.program.check()
            return _linked(self.folder)

        until("the agent's link", deadline_s, linked)


class Stack:
    """A relay, one site, and its agent. `fault_proxy=True` puts a :class:`FaultProxy` before the tunnel.

    `relay_program` is started in the place of `penstock-relay`, `agent_program` in that of `penstock-agent`.
    """

    def __init__(
        self,
        servers: Mapping[str, Server],
        *,
        site: str = "plant",
        fault_proxy: bool = False,
        relay_env: Mapping[str, str] | None = None,
        agent_env: Mapping[str, str] | None = None,
        relay_program: Sequence[str] | None = None,
        agent_program: Sequence[str] | None = None,
        report: Callable[[str], None] = lambda _step: None,
    ) -> None:
        self.servers = dict(servers)
        self.site = site
        self.token = ""
        self.public_url = ""
        self.proxy = FaultProxy() if fault_proxy else None
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-"))  # short: control.sock's path has 108 bytes
        self.report = report
        self.agents: list[Agent] = []
        self._keeper = Keeper()
        self._agent_program = agent_program
        self._agent_env = {**clean_environment(), **(agent_env or {})}
        self._relay_env = {
            **clean_environment(),
            "PENSTOCK_RELAY_CONFIG": os.devnull,  # not the relay.toml that this machine may have
            "PENSTOCK_RELAY_LISTEN": "127.0.0.1:0",
            "PENSTOCK_RELAY_TUNNEL_LISTEN": "127.0.0.1:0",
            "PENSTOCK_RELAY_OPS_LISTEN": "127.0.0.1:0",
            "PENSTOCK_RELAY_STATE_DIR": str(self.folder / "relay-state"),
            **(relay_env or {}),
        }
        program = relay_program or [console_script("penstock-relay")]
        self.relay = Program("relay", [*program, "serve"], self._relay_env, self.folder, self._keeper)

    # -- as a context

    def __enter__(self) -> Self:
        try:
            self._bring_up()
        except BaseException as error:
            tails = self._tails()
            self._take_down()
            if isinstance(error, StackError):
                raise StackError(f"{error}\n{tails}") from None
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and isinstance(error, Exception):
            sys.stderr.write(self._tails() + "\n")
        self._take_down()

    @property
    def agent(self) -> Agent:
        return self.agents[0]

    def url(self, server: str) -> str:
        """What a user pastes into an assistant."""
        return f"{self.public_url}/{self.site}/{server}/mcp"

    def relay_cli(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `penstock-relay …` as the relay's administrator."""
        return _cli("penstock-relay", arguments, self.relay.env, check)

    def start_relay(self) -> None:
        """Start it and wait until it listens. A second start listens on the ports of the first."""
        listening = self.folder / "relay-state" / "listening.json"
        listening.unlink(missing_ok=True)
        self.relay.start()
        until("the relay's listening.json", START_S, lambda: self.relay.check() and listening.exists())
        found = json.loads(listening.read_text())
        self.public_url = found["public_url"]
        for setting in ("listen", "tunnel_listen", "ops_listen"):
            self.relay.env[f"PENSTOCK_RELAY_{setting.upper()}"] = found[setting]
        if self.proxy is not None:
            host, _, port = str(found["tunnel_listen"]).rpartition(":")
            self.proxy.target = (host, int(port))

    def issue_token(self, *arguments: str) -> str:
        return self.relay_cli("token", "issue", "--site", self.site, *arguments).stdout.strip()

    def add_agent(self, name: str, join_string: str, servers: Mapping[str, Server] | None = None) -> Agent:
        """Enrol one more agent of the site and start it."""
        given = self.servers if servers is None else servers
        agent = Agent(name, self.folder, given, self._agent_env, self._keeper, self._agent_program)
        self.agents.append(agent)
        agent.cli("join", join_string)
        self.report("agent enrolled: its key was made here, its certificate comes from the relay's own CA")
        agent.start()
        self.report("agent linked to the relay: TLS 1.3, both certificates checked")
        return agent

    def _bring_up(self) -> None:
        if self.proxy is not None:
            self.proxy.__enter__()
            host, port = self.proxy.address
            self.relay.env["PENSTOCK_RELAY_TUNNEL_URL"] = f"wss://{host}:{port}"
        self.start_relay()
        self.report(f"relay serves {self.public_url}")
        join_string = self.relay_cli("site", "add", self.site).stdout.strip()
        self.report(f"site {self.site} added, join string printed")
        self.add_agent("agent", join_string)
        self.token = self.issue_token("--name", "stack")
        self.report("access token issued")

    def _take_down(self) -> None:
        problems = []
        for program in (*(agent.program for agent in self.agents), self.relay):
            try:
                program.stop()
            except StackError as error:
                problems.append(str(error))
        self._keeper.close()
        if self.proxy is not None:
            self.proxy.__exit__(None, None, None)
        shutil.rmtree(self.folder, ignore_errors=True)
        if problems:
            raise StackError("; ".join(problems))

    def _tails(self) -> str:
        return "\n".join(p.tail() for p in (self.relay, *(agent.program for agent in self.agents)))


def _linked(folder: Path) -> bool:
    """What `penstock-agent status` asks the agent, without a start of that for each time."""
    try:
        token = (folder / TOKEN_NAME).read_text()
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(1)
            asking.connect(str(folder / SOCKET_NAME))
            asking.sendall(msgspec.json.encode(Request("status", {}, token)) + b"\n")
            with asking.makefile("rb") as lines:
                answer = msgspec.json.decode(lines.readline(), type=Answer)
    except (OSError, msgspec.DecodeError):
        return False  # not yet, or not any more
    return (answer.ok or {}).get("linked") is True


def _cli(
    program: str, arguments: Sequence[str], env: Mapping[str, str], check: bool, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    argv = [console_script(program), *arguments]
    done = warm.run(argv, env, stdin)
    if check and done.returncode:
        # Arguments may be secrets (a join string): the command's name is enough.
        raise StackError(
            f"`{program} {arguments[0]} …` ended with status {done.returncode}: {done.stderr.strip()}"
        )
    return done
