"""Real MCP clients of other makers, each behind the same function: connect, list the tools, call one.

The Node clients come from package-lock.json beside this file; `./dev test` installs them.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, TextContent

FOLDER = Path(__file__).parent
NODE = str(Path(sys.executable).parent / "node")
DEADLINE_S = 60

Arguments: TypeAlias = Mapping[str, object]


@dataclass(frozen=True)
class Seen:
    """What a client saw of a server."""

    tools: list[str]
    text: str  # of the call's result
    is_error: bool
    progress: list[float]  # empty for a client that shows none
    server: str = ""  # the name it gave itself; empty for a client that does not show it


Driver: TypeAlias = Callable[[str, str, str, Arguments, Path], Awaitable[Seen]]


def program(name: str) -> list[str]:
    """The command of a Node program of package-lock.json."""
    return [NODE, str(FOLDER / "node_modules" / ".bin" / name)]


async def _run(argv: list[str], env: Mapping[str, str], fine: tuple[int, ...] = (0,)) -> object:
    """Run a program to its end and read its stdout as JSON. Raises AssertionError for another exit status."""

    def work() -> object:
        done = subprocess.run(
            argv,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        if done.returncode not in fine:
            raise AssertionError(
                f"{argv[1]} ended with status {done.returncode}:\n{done.stderr}{done.stdout}"
            )
        return json.loads(done.stdout)

    return await asyncio.to_thread(work)


# -- the Python SDK


@asynccontextmanager
async def python_client(url: str, token: str, mode: str) -> AsyncIterator[Client]:
    """mode: "legacy" starts with initialize; "auto" asks for the newest revision first and falls back."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        asyncio.timeout(DEADLINE_S),
        httpx2.AsyncClient(headers=headers, timeout=DEADLINE_S) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


async def _drive(client: Client, tool: str, arguments: Arguments) -> Seen:
    steps: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    tools = [each.name for each in (await client.list_tools()).tools]
    result = await client.call_tool(tool, dict(arguments), progress_callback=note)
    server = client.server_info.name if client.server_info else ""
    return Seen(tools, _text(result), bool(result.is_error), steps, server)


def _text(result: CallToolResult) -> str:
    return "\n".join(part.text for part in result.content if isinstance(part, TextContent))


async def python_auto(url: str, token: str, tool: str, arguments: Arguments, home: Path) -> Seen:
    async with python_client(url, token, "auto") as client:
        return await _drive(client, tool, arguments)


async def python_legacy(url: str, token: str, tool: str, arguments: Arguments, home: Path) -> Seen:
    async with python_client(url, token, "legacy") as client:
        return await _drive(client, tool, arguments)


# -- the TypeScript SDK, both of its lines


async def _typescript(sdk: str, url: str, token: str, tool: str, arguments: Arguments, home: Path) -> Seen:
    argv = [NODE, str(FOLDER / "ts_client.mjs"), sdk, url, tool, json.dumps(dict(arguments))]
    seen = _object(await _run(argv, {"TOKEN": token, "HOME": str(home)}))
    progress = [float(str(_object(update)["progress"])) for update in _list(seen["progress"])]
    tools = [str(name) for name in _list(seen["tools"])]
    result = _object(seen["result"])
    name = str(_object(seen["server"])["name"])
    return Seen(tools, _raw_text(result), result.get("isError") is True, progress, name)


async def typescript_v1(url: str, token: str, tool: str, arguments: Arguments, home: Path) -> Seen:
    return await _typescript("v1", url, token, tool, arguments, home)


async def typescript_v2(url: str, token: str, tool: str, arguments: Arguments, home: Path) -> Seen:
    return await _typescript("v2", url, token, tool, arguments, home)


# -- the MCP Inspector's command line


async def inspector(url: str, token: str, tool: str, arguments: Arguments, home: Path) -> Seen:
    head = [*program("mcp-inspector"), "--cli", url, "--transport", "http"]
    auth = ["--header", f"Authorization: Bearer {token}"]
    env = {"HOME": str(home)}
    listed = _object(await _run([*head, *auth, "--method", "tools/list"], env))
    given = [part for name, value in arguments.items() for part in ("--tool-arg", f"{name}={value}")]
    call = ["--method", "tools/call", "--tool-name", tool, *given]
    result = _object(await _run([*head, *auth, *call], env, fine=(0, 5)))  # 5: the tool said isError
    tools = [str(_object(each)["name"]) for each in _list(listed["tools"])]
    return Seen(tools, _raw_text(result), result.get("isError") is True, [])


# -- mcp-remote, which is a stdio server to the client in front of it


async def mcp_remote(url: str, token: str, tool: str, arguments: Arguments, home: Path) -> Seen:
    node, script = program("mcp-remote")
    parameters = StdioServerParameters(
        command=node,
        args=[script, url, "--header", f"Authorization:Bearer {token}"],
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
    )
    async with asyncio.timeout(DEADLINE_S), Client(parameters, mode="legacy") as client:
        return await _drive(client, tool, arguments)


DRIVERS: dict[str, Driver] = {
    "python": python_auto,
    "python-legacy": python_legacy,
    "typescript": typescript_v1,
    "typescript-v2": typescript_v2,
    "inspector": inspector,
    "mcp-remote": mcp_remote,
}
SHOWS_PROGRESS = frozenset(DRIVERS) - {"inspector"}


def _object(value: object) -> dict[str, object]:
    assert isinstance(value, dict)
    return value


def _list(value: object) -> list[object]:
    assert isinstance(value, list)
    return value


def _raw_text(result: dict[str, object]) -> str:
    parts = [_object(part) for part in _list(result["content"])]
    return "\n".join(str(part["text"]) for part in parts if part.get("type") == "text")
