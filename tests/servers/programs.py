"""The servers of this folder, as an agent's configuration names them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from tests.clients.drivers import FOLDER, NODE
from tests.harness.stack import Server

EVERYTHING: Final = ("tool:*", "prompt:*", "resource:**")
ROOT: Final = Path(__file__).parents[2]


def everything_dual() -> Server:
    """Of both eras, on the Python SDK."""
    command = [sys.executable, "-m", "tests.servers.everything_dual"]
    return Server(command, EVERYTHING, {"PYTHONPATH": str(ROOT)})


def everything_modern() -> Server:
    """The same, of 2026-07-28 only."""
    command = [sys.executable, "-m", "tests.servers.everything_dual", "--modern"]
    return Server(command, EVERYTHING, {"PYTHONPATH": str(ROOT)})


def everything_handshake() -> Server:
    """Of the handshake era, on the TypeScript SDK."""
    return Server([NODE, str(FOLDER / "everything_handshake.mjs")], EVERYTHING)


def plain() -> Server:
    """Of the handshake era, in Perl and without any SDK."""
    return Server(["perl", str(ROOT / "tests" / "servers" / "plain.pl")], EVERYTHING)


def revisions(eras: str) -> Server:
    """Of the "handshake" era, of the "modern" one, or "dual"; in Python and without any SDK."""
    command = [sys.executable, "-m", "tests.servers.revisions", eras]
    return Server(command, EVERYTHING, {"PYTHONPATH": str(ROOT)})
