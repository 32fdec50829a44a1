"""What is stopped, on disk: it outlives the agent, and can be changed where none runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from penstock_agent.files import write_atomic
from penstock_agent.gate.pause import Entry, Paused
from penstock_agent.problem import Problem

FILE: Final = "paused.json"

_entries = msgspec.json.Decoder(tuple[Entry, ...])


def load(state_dir: Path) -> Paused:
    """Raises Problem for a file that cannot be read: what was to be stopped must not go on by accident."""
    path = state_dir / FILE
    try:
        return Paused(_entries.decode(path.read_bytes()))
    except FileNotFoundError:
        return Paused()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not what this agent writes"
        raise Problem(
            f"What is paused cannot be read from {path}: {why}. Remove the file to use everything again."
        ) from None


def save(state_dir: Path, paused: Paused) -> None:
    """Raises Problem. Root, who stops an agent that does not run, leaves a file that the agent can read."""
    try:
        info = state_dir.stat()
        owner = (info.st_uid, info.st_gid) if os.geteuid() == 0 else None
        write_atomic(state_dir / FILE, msgspec.json.encode(paused.entries), 0o600, owner)
    except OSError as error:
        raise Problem(f"What is paused cannot be written to {state_dir / FILE}: {error.strerror}.") from None
