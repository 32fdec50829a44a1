import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from penstock_agent import config, control
from penstock_agent.config import Options
from penstock_agent.control import Args, ControlError, Handler, NotRunning, Peer, listening, wire
from penstock_agent.problem import Exit, Problem


async def echo(peer: Peer, args: Args) -> Args:
    return {"uid": peer.uid, "pid": peer.pid, "args": dict(args)}


async def refuse(_peer: Peer, _args: Args) -> Args:
    raise Problem("agent.toml: no good", Exit.USAGE)


async def fail(_peer: Peer, _args: Args) -> Args:
    raise RuntimeError("secret payload")


HANDLERS: Mapping[str, Handler] = {"echo": echo, "refuse": refuse, "fail": fail}


@asynccontextmanager
async def serving(path: Path, handlers: Mapping[str, Handler] = HANDLERS) -> AsyncIterator[None]:
    listens = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(control.serve_control(path, handlers, ready=listens.set))
        async with asyncio.timeout(5):
            await listens.wait()
        try:
            yield
        finally:
            task.cancel()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


async def raw(path: Path, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(data)
    return reader, writer


def request(path: Path, **more: object) -> bytes:
    """One to the verb echo, as somebody sends it who may."""
    token = path.with_name(control.TOKEN_NAME).read_text()
    return json.dumps({"verb": "echo", "token": token, **more}).encode() + b"\n"


async def test_a_verb_is_answered_and_the_kernel_names_the_peer(path: Path) -> None:
    async with serving(path):
        assert await control.ask(path, "echo", a=1, b=["x"]) == {
            "uid": os.geteuid(),
            "pid": os.getpid(),
            "args": {"a": 1, "b": ["x"]},
        }


async def test_the_socket_is_for_its_owner_only_and_goes_away_with_the_agent(path: Path) -> None:
    async with serving(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


async def test_one_connection_may_ask_several_times(path: Path) -> None:
    async with serving(path):
        reader, writer = await raw(path, request(path) + request(path, args={"n": 2}))
        answers = [json.loads(await reader.readline()) for _ in range(2)]
        assert [a["ok"]["args"] for a in answers] == [{}, {"n": 2}]
        writer.close()


async def test_a_problem_comes_back_in_its_own_words(path: Path) -> None:
    async with serving(path):
        with pytest.raises(ControlError, match=r"agent\.toml: no good") as caught:
            await control.ask(path, "refuse")
        assert caught.value.status == Exit.USAGE


async def test_an_unexpected_failure_tells_its_kind_and_no_payload(path: Path) -> None:
    async with serving(path):
        with pytest.raises(ControlError, match="RuntimeError") as caught:
            await control.ask(path, "fail")
        assert "secret" not in str(caught.value)
        assert await control.ask(path, "echo")  # and the agent lives on


async def test_an_unknown_verb_names_the_known_ones(path: Path) -> None:
    async with serving(path):
        with pytest.raises(ControlError, match=r"verb 'shell' \(known: echo, fail, refuse\)"):
            await control.ask(path, "shell")


@pytest.mark.parametrize(
    "line",
    [
        b"junk\n",
        b"[]\n",
        b'{"args":{}}\n',
        b'{"verb":1}\n',
        b'{"verb":"echo","more":1}\n',
        b"\xff\n",
        b"[" * 9000 + b"\n",
    ],
)
async def test_junk_is_refused_and_the_connection_lives(path: Path, line: bytes) -> None:
    async with serving(path):
        reader, writer = await raw(path, request(path) + line + request(path))
        assert "ok" in json.loads(await reader.readline())
        assert "Not a request" in json.loads(await reader.readline())["error"]["text"]
        assert "ok" in json.loads(await reader.readline())
        writer.close()


async def test_a_request_without_end_is_refused_and_the_connection_closed(path: Path) -> None:
    async with serving(path), asyncio.timeout(10):
        reader, writer = await raw(path, b"x" * (control.MAX_REQUEST_BYTES * 2 + 1))
        assert "larger than 65536 bytes" in json.loads(await reader.readline())["error"]["text"]
        assert await reader.read() == b""
        writer.close()


async def test_connections_are_bounded_and_later_ones_wait(path: Path) -> None:
    async with serving(path), asyncio.timeout(10):
        held = []
        for _ in range(control.MAX_CONNECTIONS):
            reader, writer = await raw(path, request(path))
            await reader.readline()
            held.append(writer)
        reader, writer = await raw(path, request(path))
        with pytest.raises(ControlError, match="did not answer"):
            await control.ask(path, "echo", timeout=0.05)
        held.pop().close()
        assert b"ok" in await reader.readline()
        for w in [writer, *held]:
            w.close()


@pytest.mark.parametrize("first", [b'{"verb":"echo"}\n', b'{"verb":"echo","token":"guessed"}\n', b"junk\n"])
async def test_who_has_not_shown_the_token_is_refused_and_the_connection_closed(
    path: Path, first: bytes
) -> None:
    async with serving(path), asyncio.timeout(10):
        reader, writer = await raw(path, first + request(path))
        assert "error" in json.loads(await reader.readline())
        assert await reader.read() == b""
        writer.close()


async def test_the_token_is_for_the_agents_user_only_and_another_at_each_start(path: Path) -> None:
    token = path.with_name(control.TOKEN_NAME)
    seen = set()
    for _ in range(2):
        async with serving(path):
            assert stat.S_IMODE(token.stat().st_mode) == 0o600
            seen.add(token.read_text())
    assert len(seen) == 2


async def test_who_cannot_read_the_token_is_told_who_may_ask(path: Path) -> None:
    async with serving(path):
        path.with_name(control.TOKEN_NAME).unlink()
        with pytest.raises(ControlError, match=r"Only who can read control\.token"):
            await control.ask(path, "echo")


async def test_a_stranger_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "_peer", lambda _connection: Peer(uid=os.geteuid() + 4711, pid=1))
    async with serving(path):
        with pytest.raises(ControlError, match="Only root and the user that runs the agent"):
            await control.ask(path, "echo")


async def test_a_socket_that_a_killed_agent_left_is_replaced(path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    async with serving(path):
        assert await control.ask(path, "echo")


async def test_a_second_agent_is_refused_and_the_first_keeps_its_socket(path: Path) -> None:
    async with serving(path):
        with pytest.raises(ControlError, match="Another agent already runs here"):
            await control.serve_control(path, HANDLERS)
        assert await control.ask(path, "echo")


async def test_no_agent_is_said_in_words(path: Path) -> None:
    with pytest.raises(NotRunning, match=r"does not run.*penstock-agent run"):
        await control.ask(path, "status")


async def test_an_agent_that_goes_away_is_said_in_words(path: Path) -> None:
    async def vanish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    server = await asyncio.start_unix_server(vanish, path)
    with pytest.raises(NotRunning, match="went away"):
        await control.ask(path, "status")
    server.close()
    await server.wait_closed()


async def test_an_agent_that_does_not_answer_is_said_in_words(path: Path) -> None:
    async def never(_peer: Peer, _args: Args) -> Args:
        await asyncio.Event().wait()
        return {}

    async with serving(path, {"status": never}):
        with pytest.raises(ControlError, match=r"did not answer within 0.05 s"):
            await control.ask(path, "status", timeout=0.05)


async def test_a_path_too_long_for_a_socket_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="too long for a socket"):
        await control.serve_control(tmp_path / ("x" * 120), HANDLERS)


async def test_a_missing_folder_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="cannot be made: No such file"):
        await control.serve_control(tmp_path / "none" / "control.sock", HANDLERS)


async def test_status_and_link_are_typed(path: Path) -> None:
    status = control.Status(
        "0.1.0", 1, "plant", "a1", "wss://r:1", linked=True, since=5.0, public_url="https://p"
    )

    async def say_status(_peer: Peer, _args: Args) -> Args:
        built: Args = msgspec.to_builtins(status)
        return built

    async def link(_peer: Peer, args: Args) -> Args:
        return {"linked": args == {"wait_s": 3.0}}

    async with serving(path, {"status": say_status, "link": link}):
        assert await control.status(path) == status
        assert (await control.link(path, 3.0)).linked
    async with serving(path, {"status": echo}):
        with pytest.raises(ControlError, match="another version"):
            await control.status(path)


def test_commands_find_the_units_socket_when_the_units_state_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "UNIT_RUNTIME_DIR", tmp_path)

    def asked(env: dict[str, str], options: Options | None = None) -> Path:
        return control.socket_to_ask(config.parse("", Path("/x"), options or Options(), env))

    assert asked({}) == Path("/var/lib/penstock-agent/control.sock")
    (tmp_path / "control.sock").touch()
    assert asked({}) == tmp_path / "control.sock"
    assert asked({"PENSTOCK_AGENT_RUNTIME_DIR": "/r"}) == Path("/r/control.sock")
    assert asked({}, Options(state_dir=Path("/s"))) == Path("/s/control.sock")
