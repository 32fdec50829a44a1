"""``STATE_DIR/listening.json``: where the running relay can really be reached.

Written by ``serve`` once its listeners are bound, so that port 0 is usable and so that commands find the
relay without being told its addresses.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from penstock_relay import files

NAME: Final = "listening.json"


@dataclass(frozen=True, slots=True)
class Listening:
    """What the file says: the process, its URLs, and ``host:port`` of each listener."""

    pid: int
    public_url: str
    listen: str
    tunnel_url: str
    tunnel_listen: str
    ops_listen: str


def write(state_dir: Path, listening: Listening) -> None:
    """Replaces the file in one step. Raises OSError."""
    files.replace(state_dir / NAME, msgspec.json.format(msgspec.json.encode(listening)) + b"\n")


def read(state_dir: Path) -> Listening | None:
    """What the running relay wrote; None when there is no file, or its process is gone."""
    try:
        listening = msgspec.json.decode((state_dir / NAME).read_bytes(), type=Listening)
    except (OSError, msgspec.DecodeError):
        return None
    return listening if _alive(listening.pid) else None


def remove(state_dir: Path, pid: int) -> None:
    """Removes the file when ``pid`` wrote it: a relay that stops leaves the file of its successor alone."""
    try:
        listening = msgspec.json.decode((state_dir / NAME).read_bytes(), type=Listening)
    except (OSError, msgspec.DecodeError):
        return
    if listening.pid == pid:
        (state_dir / NAME).unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
