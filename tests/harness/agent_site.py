"""An agent's folders, and ways to run its commands on them: in this process, or as a user would."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from typer.testing import CliRunner

from penstock.names import AgentId
from penstock_agent import control, state
from penstock_agent.cli import app
from penstock_agent.control import Args, Handler, Peer, Status
from penstock_agent.state import Credentials
from tests.harness.certs import Authority

SERVER = """
import json, sys
TOOLS = [
    {"name": "read_file", "description": "Reads.\\nMore.", "annotations": {"readOnlyHint": True}},
    {"name": "read_all", "annotations": {"readOnlyHint": True}},
    {"name": "write_file", "annotations": {"readOnlyHint": False, "destructiveHint": False}},
    {"name": "wipe", "annotations": {"destructiveHint": True}},
    {"name": "misc", "description": "\\x1b[31mred"},
]
for line in sys.stdin:
    m = json.loads(line)
    if m.get("method") == "initialize":
        r = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}, "prompts": {}}}
    elif m.get("method") == "tools/list":
        r = {"tools": TOOLS}
    elif m.get("method") == "prompts/list":
        r = {"prompts": [{"name": "greet"}]}
    else:
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": m["id"], "result": r}), flush=True)
"""


@dataclass
class Result:
    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, object]:
        value = json.loads(self.stdout)
        assert isinstance(value, dict)
        return value


@dataclass
class Site:
    """One agent's state folder and settings file."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "agent.toml"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def configure(self, text: str) -> None:
        self.config.write_text(text)
        self.config.chmod(0o600)

    def add_server(self, expose: list[str] | None = None) -> None:
        program = self.folder / "server.py"
        program.write_text(SERVER)
        line = f"expose = {json.dumps(expose)}\n" if expose is not None else ""
        command = json.dumps([sys.executable, str(program)])
        self.configure(f"# the site's file\n[servers.files]\ncommand = {command}  # listing only\n{line}")

    def join(self) -> None:
        """As if ``join`` had been done."""
        ca = Authority(self.folder / "made")
        files = ca.agent("plant", "a1")
        credentials = Credentials(
            "wss://relay.example:443",
            AgentId("plant", "a1"),
            files.key.read_bytes(),
            files.chain.read_bytes(),
            ca.ca.read_bytes(),
        )
        state.store(self.state, credentials, state.prepare(self.state))

    def arguments(self, *command: str) -> list[str]:
        # What stands behind "--" is another program's.
        at = command.index("--") if "--" in command else len(command)
        options = ["--config", str(self.config), "--state-dir", str(self.state)]
        return [*command[:at], *options, *command[at:]]

    def run(self, *command: str, input: str | None = None) -> Result:
        """In this process."""
        done = CliRunner().invoke(app, self.arguments(*command), input=input)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Result(done.exit_code, done.stdout, done.stderr)

    def start(self, *command: str) -> subprocess.Popen[str]:
        """As a user would."""
        env = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("PENSTOCK_", "HTTPS_PROXY", "https_proxy"))
        }
        argv = [
            sys.executable,
            "-c",
            "from penstock_agent.cli import main; main()",
            *self.arguments(*command),
        ]
        return subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def status(self, **changes: object) -> Status:
        """What a running agent would say of itself."""
        base = Status("0.1.0", 1, "plant", "a1", "wss://relay.example:443", linked=True, since=0.0)
        base = msgspec.structs.replace(base, public_url="https://relay.example", max_children=64)
        return msgspec.structs.replace(base, **changes)

    @contextmanager
    def running(self, status: Status, **more: Handler) -> Iterator[list[str]]:
        """A control socket that answers, in a thread of its own. Yields the verbs that it was asked."""
        asked: list[str] = []

        async def say_status(_peer: Peer, _args: Args) -> Args:
            built: Args = msgspec.to_builtins(status)
            return built

        async def reload(_peer: Peer, _args: Args) -> Args:
            return {}

        def counted(verb: str, handler: Handler) -> Handler:
            async def handle(peer: Peer, args: Args) -> Args:
                asked.append(verb)
                return await handler(peer, args)

            return handle

        handlers = {"status": say_status, "reload": reload, **more}
        with _serving(self.state / control.SOCKET_NAME, {v: counted(v, h) for v, h in handlers.items()}):
            yield asked


@contextmanager
def _serving(path: Path, handlers: Mapping[str, Handler]) -> Iterator[None]:
    listens = threading.Event()
    stop: list[Callable[[], object]] = []

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        stop.append(lambda: loop.call_soon_threadsafe(done.set))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(control.serve_control(path, handlers, ready=listens.set))
            await done.wait()
            task.cancel()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert listens.wait(5)
    try:
        yield
    finally:
        stop[0]()
        thread.join(5)
