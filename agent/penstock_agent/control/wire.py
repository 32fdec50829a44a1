"""What both ends of the control socket know: where it is, its messages, and who is at the other end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import msgspec

from penstock_agent.config import DEFAULT_STATE_DIR, Settings
from penstock_agent.problem import Exit, Problem

SOCKET_NAME = "control.sock"
TOKEN_NAME = "control.token"  # noqa: S105  # its name
#: Where the unit's runtime directory is; a command in an administrator's shell is not told.
UNIT_RUNTIME_DIR = Path("/run/penstock-agent")
MAX_REQUEST_BYTES = 64 * 1024
MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_CONNECTIONS = 16
_MAX_SOCKET_PATH = 107  # sun_path, without its NUL


class ControlError(Problem):
    """The running agent refused, or failed at, what it was asked."""


class NotRunning(ControlError):
    """No agent listens on the control socket."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end of the control socket, as the kernel names it."""

    uid: int
    pid: int


Args: TypeAlias = Mapping[str, object]
#: Carries out one verb. What it returns is the answer; a :exc:`Problem` is told to the peer in its own words.
Handler: TypeAlias = Callable[[Peer, Args], Awaitable[Args]]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    verb: str
    args: dict[str, object] = {}
    token: str = ""


class Error(msgspec.Struct, frozen=True):
    text: str
    status: int = 1


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    ok: dict[str, object] | None = None
    error: Error | None = None


def socket_path(settings: Settings) -> Path:
    """Where the agent listens."""
    return settings.runtime_dir / SOCKET_NAME


def socket_to_ask(settings: Settings) -> Path:
    """Where a command finds the agent: as set, else in the unit's folder if the unit's state is meant."""
    unit = UNIT_RUNTIME_DIR / SOCKET_NAME
    derived = settings.sources.get("runtime_dir") == "state_dir"
    if derived and settings.state_dir == DEFAULT_STATE_DIR and _exists(unit):
        return unit
    return socket_path(settings)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return True  # asking then says who may


async def connect(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    check_length(path)
    try:
        return await asyncio.open_unix_connection(path, limit=MAX_ANSWER_BYTES)
    except PermissionError:
        raise ControlError(
            f"{path}: not allowed. Run the command as root or as the user that runs the agent."
        ) from None
    except OSError:
        raise NotRunning(
            f"The agent does not run (nothing answers on {path}). "
            "Start it: systemctl start penstock-agent, or: penstock-agent run"
        ) from None


def check_length(path: Path) -> None:
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
        raise ControlError(
            f"{path} is too long for a socket (at most {_MAX_SOCKET_PATH} bytes). "
            "Set PENSTOCK_AGENT_RUNTIME_DIR to a shorter folder.",
            Exit.USAGE,
        )


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
