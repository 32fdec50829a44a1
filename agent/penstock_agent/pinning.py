"""What was approved of each server's definitions, on disk: it outlives the agent."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from penstock_agent import asuser
from penstock_agent.files import write_atomic
from penstock_agent.gate.overrides import Override
from penstock_agent.gate.pins import Broken, Pinned
from penstock_agent.problem import Problem
from penstock_agent.server_settings import ServerSettings

FOLDER: Final = "pins"
MAX_BYTES: Final = 128 << 20
"""Of one file."""

_pinned = msgspec.json.Decoder(Pinned)


def path(state_dir: Path, server: str) -> Path:
    return state_dir / FOLDER / f"{server}.json"


def load(state_dir: Path, server: str) -> Pinned | Broken | None:
    """None where nothing was approved yet; Broken for a file that cannot be read, which is no fresh start."""
    where = path(state_dir, server)
    try:
        with where.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        return _pinned.decode(data)
    except FileNotFoundError:
        return None
    except OSError as error:
        return Broken(f"{where} cannot be read: {error.strerror}.")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Broken(f"{where} is not what this agent writes.")


def load_all(state_dir: Path, servers: Iterable[str]) -> dict[str, Pinned | Broken | None]:
    return {server: load(state_dir, server) for server in servers}


def save(state_dir: Path, server: str, pinned: Pinned) -> None:
    """Raises Problem."""
    where = path(state_dir, server)
    try:
        where.parent.mkdir(mode=0o700, exist_ok=True)
        write_atomic(where, msgspec.json.encode(pinned), 0o600)
    except OSError as error:
        raise Problem(
            f"What is approved of {server} cannot be written to {where}: {os.strerror(error.errno or 0)}."
        ) from None


def keep(state_dir: Path, server: str, pinned: Pinned) -> None:
    """The same as the user of the state folder, when root calls. Raises Problem."""

    def save_it() -> bytes:
        save(state_dir, server, pinned)
        return b""

    asuser.call(save_it, state_dir)


def overrides(servers: Mapping[str, ServerSettings]) -> dict[str, dict[str, Override]]:
    """What the site says of tools in the place of their servers."""
    return {
        name: {tool: Override(one.title, one.description, one.hints()) for tool, one in server.tools.items()}
        for name, server in servers.items()
        if server.tools
    }
