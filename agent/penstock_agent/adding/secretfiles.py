"""Secrets that servers get by reference: a file each, in the state folder, for the agent's user only."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from penstock_agent.files import write_atomic

FOLDER: Final = "secrets"


def store(state_dir: Path, server: str, variable: str, value: str) -> Path:
    """Write ``value`` into a new file (0600) and return it. Raises OSError."""
    folder = state_dir.absolute() / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    base = f"{server}.{re.sub(r'[^A-Za-z0-9_-]', '_', variable)[:80]}"
    number, path = 1, folder / base
    while os.path.lexists(path):
        number += 1
        path = folder / f"{base}.{number}"
    write_atomic(path, value.encode(), 0o600)
    return path


def discard(state_dir: Path, paths: Iterable[Path]) -> list[Path]:
    """Remove those of ``paths`` that ``store`` made; returns them."""
    gone = []
    for path in paths:
        if path.parent == state_dir.absolute() / FOLDER:
            with suppress(OSError):
                path.unlink()
                gone.append(path)
    return gone
