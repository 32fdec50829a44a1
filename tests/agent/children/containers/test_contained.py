"""Real containers: what a child in one has, and that none is left after any end of the agent."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock_agent.children.child import Child, ChildGone, ChildStartError, ProcessSpec
from penstock_agent.children.containers import podman as asking
from penstock_agent.children.keeper import Keeper
from penstock_agent.server_settings import ServerSettings
from penstock_agent.servers import owner, spec
from tests.harness.images import Images

LITTLE_AGENT = str(Path(__file__).with_name("contained_agent.py"))
WAIT_S = 30.0
LOOK = """
import json, os, socket, sys
def attempt(do):
    try: return do()
    except OSError as error: return error.strerror
def connect():
    socket.create_connection(('192.0.2.1', 9), 1)
def status(name):
    return next(line.split()[1] for line in open('/proc/self/status') if line.startswith(name))
print(json.dumps({
    'env': dict(os.environ), 'uid': os.getuid(), 'caps': status('CapBnd'), 'privileges': status('NoNewPrivs'),
    'root': attempt(lambda: open('/x', 'w')) and 'Read-only file system', 'connect': attempt(connect),
    'networks': os.listdir('/sys/class/net'), 'secret': attempt(lambda: open(SECRET).read()),
    'data': attempt(lambda: open('/data/in.txt').read()),
    'change': attempt(lambda: open('/data/in.txt', 'w')),
    'wrote': attempt(lambda: open(WRITE + '/out.txt', 'w').write('x')),
    'home': attempt(lambda: open(os.environ['HOME'] + '/kept', 'w').write('y')),
    'tmp': attempt(lambda: open('/tmp/x', 'w').write('z')), 'oom': open('/proc/self/oom_score_adj').read(),
    'processes': [each for each in os.listdir('/proc') if each.isdigit()],
}), flush=True)
sys.stdin.read()
"""


async def first_line(child: Child) -> dict[str, object]:
    async with asyncio.timeout(WAIT_S):
        line = await child.receive()
    assert isinstance(line, bytes)
    found: dict[str, object] = json.loads(line)
    return found


def until(condition: Callable[[], bool], seconds: float = WAIT_S) -> bool:
    """Whether it holds in time. Asks podman, which cannot say by itself that a container is gone."""
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            return False
    return True


def made(state: Path, table: Mapping[str, object], private: tuple[Path, ...] = ()) -> ProcessSpec:
    what = spec(state, "probe", ServerSettings.model_validate(table), os.environ, private)
    assert isinstance(what, ProcessSpec)
    return what


@pytest.fixture
def script(podman: Images, tmp_path: Path) -> Callable[..., dict[str, object]]:
    """The settings of a server that runs a script in the image: its entry point starts what is given."""

    def make(text: str, **more: object) -> dict[str, object]:
        read = tmp_path.parent / f"{tmp_path.name}-shown"
        read.mkdir(exist_ok=True)
        (read / "in.txt").write_text("what is shown")
        return {
            "image": podman.image,
            "command": ["--run", text],
            "read": [str(read)],
            "mounts": {str(read): "/data"},
            **more,
        }

    return make


async def test_a_child_sees_what_is_declared_and_nothing_else(
    script: Callable[..., dict[str, object]], podman: Images, tmp_path: Path
) -> None:
    state, written = tmp_path / "state", tmp_path / "written"
    written.mkdir()
    state.mkdir()
    (state / "identity.pem").write_text("the agent's key")
    secret = tmp_path / "token"
    secret.write_text("hunter2\n")
    secret.chmod(0o600)
    text = f"SECRET = {str(state / 'identity.pem')!r}\nWRITE = {str(written)!r}\n{LOOK}"
    table = script(
        text, write=[str(written)], env={"TOKEN": f"file:{secret}", "LINES": "a\nb", "LANG": "C.UTF-8"}
    )
    keeper = await Keeper.start()
    child = await Child.start(made(state, table), keeper)
    try:
        found = await first_line(child)
        words = Path(f"/proc/{child.pid}/cmdline").read_bytes()
        (name,) = podman.containers()
        labels = podman.inspect(name)["Config"]
    finally:
        await child.stop()
        await keeper.close()
    env = found.pop("env")
    assert isinstance(env, dict)
    assert {each: env.get(each) for each in ("TOKEN", "LINES", "LANG", "HOME", "UV_OFFLINE")} == {
        "TOKEN": "hunter2",
        "LINES": "a\nb",
        "LANG": "C.UTF-8",
        "HOME": "/home/penstock",
        "UV_OFFLINE": "1",
    }
    assert set(env) <= {
        *("TOKEN", "LINES", "LANG", "HOME", "UV_OFFLINE", "npm_config_offline"),
        *("PATH", "TERM", "HOSTNAME", "container"),
    }
    assert b"hunter2" not in words
    assert found == {
        "uid": os.geteuid(),
        "caps": "0000000000000000",
        "privileges": "1",
        "root": "Read-only file system",
        "connect": "Network is unreachable",
        "networks": ["lo"],
        "secret": "No such file or directory",
        "data": "what is shown",
        "change": "Read-only file system",
        "wrote": 1,
        "home": 1,
        "tmp": 1,
        "oom": "500\n",
        "processes": ["1"],
    }
    assert (written / "out.txt").read_text() == "x"
    assert (state / "servers" / "probe" / "kept").read_text() == "y"
    assert isinstance(labels, dict)
    assert labels["Labels"]["io.penstock.agent"] == owner(state)
    assert until(lambda: podman.containers() == [])


async def test_an_mcp_server_answers_from_its_container_and_ends_with_its_input(
    podman: Images, tmp_path: Path
) -> None:
    keeper = await Keeper.start()
    child = await Child.start(made(tmp_path, {"image": podman.image}), keeper)
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    await child.send(
        json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}).encode()
    )
    answer = await first_line(child)
    await child.stop(WAIT_S)
    await keeper.close()
    assert answer["id"] == 1
    assert child.returncode == 0
    assert until(lambda: podman.containers() == [])


async def test_one_that_ignores_its_input_s_end_is_removed(
    script: Callable[..., dict[str, object]], podman: Images, tmp_path: Path
) -> None:
    keeper = await Keeper.start()
    stubborn = script("import time\nprint('{}', flush=True)\nwhile True: time.sleep(60)")
    child = await Child.start(made(tmp_path, stubborn), keeper)
    await first_line(child)
    await child.stop(0.2)
    await keeper.close()
    assert until(lambda: podman.containers() == [])


@pytest.mark.parametrize("key", ["read", "write"])
async def test_the_agent_s_own_folder_cannot_be_shown_to_it(key: str, podman: Images, tmp_path: Path) -> None:
    keeper = await Keeper.start()
    state = tmp_path / "state"
    for place, words in (
        (state, "which is the agent's own"),
        (tmp_path, "which contains what is the agent's own"),
    ):
        with pytest.raises(ChildStartError, match=f"{key} names {place}, {words}"):
            await Child.start(made(state, {"image": podman.image, key: [str(place)]}), keeper)
    await keeper.close()
    assert podman.containers() == []


async def test_a_place_that_is_not_there_is_named(podman: Images, tmp_path: Path) -> None:
    keeper = await Keeper.start()
    with pytest.raises(ChildStartError, match=r"read names /nowhere, which is not there"):
        await Child.start(made(tmp_path, {"image": podman.image, "read": ["/nowhere"]}), keeper)
    await keeper.close()


async def test_an_image_that_is_not_here_is_not_fetched_and_the_log_says_how_to(
    podman: Images, tmp_path: Path
) -> None:
    keeper = await Keeper.start()
    child = await Child.start(made(tmp_path, {"image": f"localhost/none@sha256:{'0' * 64}"}), keeper)
    with pytest.raises(ChildGone, match="ended with status 125"):
        async with asyncio.timeout(WAIT_S):
            await child.receive()
    assert child.hint == {
        "hint": "its image is not on this machine. Fetch it: penstock-agent servers prepare probe"
    }
    await keeper.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="cgroups may not be given to this user")
async def test_processes_and_memory_are_limited_for_a_container_as_a_whole(
    script: Callable[..., dict[str, object]], podman: Images, tmp_path: Path
) -> None:
    if not asking.look(os.environ).bounded:
        pytest.skip("podman may use no cgroups here")
    text = """
import json, os, time
made = 0
try:
    for _ in range(200):
        if os.fork() == 0: time.sleep(60)
        made += 1
except OSError as error:
    print(json.dumps({'made': made, 'why': error.strerror}), flush=True)
time.sleep(60)
"""
    keeper = await Keeper.start()
    child = await Child.start(
        made(tmp_path, script(text, limits={"processes": 20, "memory": "256MiB"})), keeper
    )
    found = await first_line(child)
    (name,) = podman.containers()
    host = podman.inspect(name)["HostConfig"]
    await child.stop(0.1)
    await keeper.close()
    assert found["why"] == "Resource temporarily unavailable"
    assert int(str(found["made"])) < 20
    assert isinstance(host, dict)
    assert (host["Memory"], host["MemorySwap"]) == (256 << 20, 256 << 20)
    assert until(lambda: podman.containers() == [])


@contextmanager
def little_agent(
    podman: Images, state: Path, table: Mapping[str, object]
) -> Iterator[subprocess.Popen[bytes]]:
    env = {**os.environ, **podman.env, "PYTHONPATH": os.pathsep.join(sys.path)}
    agent = subprocess.Popen(
        [sys.executable, LITTLE_AGENT, state, json.dumps(table)], stdout=subprocess.PIPE, env=env
    )
    try:
        yield agent
    finally:
        agent.kill()
        agent.wait()
        assert agent.stdout is not None
        agent.stdout.close()


def said(agent: subprocess.Popen[bytes]) -> bytes:
    assert agent.stdout is not None
    assert select.select([agent.stdout], [], [], WAIT_S)[0]
    return agent.stdout.readline()


def test_a_container_is_removed_after_the_agent_was_killed(
    script: Callable[..., dict[str, object]], podman: Images, tmp_path: Path
) -> None:
    stubborn = script("import time\nprint('{}', flush=True)\nwhile True: time.sleep(60)")
    with little_agent(podman, tmp_path / "state", stubborn) as agent:
        assert said(agent) == b"started\n"
        assert said(agent) == b"{}\n"
        assert len(podman.containers()) == 1
        agent.kill()
        agent.wait()
        killed = time.monotonic()
        assert until(lambda: podman.containers() == [])
        print(f"gone {time.monotonic() - killed:.2f} s after the agent")
    assert until(lambda: not _processes(podman))


@pytest.mark.parametrize("wait_s", [0.0, 0.05, 0.12, 0.25])
def test_a_container_that_was_being_started_is_removed_too(
    wait_s: float, script: Callable[..., dict[str, object]], podman: Images, tmp_path: Path
) -> None:
    """Killed at any moment between the launcher's exec and the server's first line."""
    stubborn = script("import time\nwhile True: time.sleep(60)")
    with little_agent(podman, tmp_path / "state", stubborn) as agent:
        assert said(agent) == b"started\n"
        select.select([], [], [], wait_s)
        agent.kill()
        agent.wait()
        # The one that removes it lives until it has: then there is nothing more to come.
        assert until(lambda: not _processes(podman))
        assert podman.containers() == []


def test_what_nobody_removed_is_swept_at_the_next_start(
    script: Callable[..., dict[str, object]], podman: Images, tmp_path: Path
) -> None:
    stubborn = script("import time\nprint('{}', flush=True)\nwhile True: time.sleep(60)")
    state = tmp_path / "state"
    with little_agent(podman, state, stubborn) as agent:
        assert (said(agent), said(agent)) == (b"started\n", b"{}\n")
        (name,) = podman.containers()
        assert asking.sweep(owner(state), os.environ) == []  # its agent lives
        # As a service manager does that kills all of a unit: none of them gets to see another one's end.
        together = _processes(podman, "container_main.py")
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in together:
                os.kill(pid, number)
        agent.kill()
        agent.wait()
        assert podman.containers() == [name]
        assert asking.sweep(owner(tmp_path / "other"), os.environ) == []
        assert asking.sweep(owner(state), os.environ) == [name]
        assert podman.containers() == []


def _processes(podman: Images, of: str = "") -> list[int]:
    """Those that belong to this podman's containers and run."""
    folder = os.path.dirname(podman.env["CONTAINERS_CONF"])
    found = []
    for each in os.listdir("/proc"):
        try:
            if (
                not each.isdigit()
                or Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
            ):
                continue
            words = Path(f"/proc/{each}/cmdline").read_bytes().decode(errors="replace")
            env = Path(f"/proc/{each}/environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        ours = "container_main.py" in words and folder in env
        conmon = "conmon" in words and folder in words
        if (ours or conmon) and of in words:
            found.append(int(each))
    return found
