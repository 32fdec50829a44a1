"""The commands in a relay of their own, as `test_cli` runs them, and its store."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from typer.testing import CliRunner, Result

from penstock_relay.cli.app import app
from penstock_relay.store import Store

T = TypeVar("T")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def run(state: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """A relay that is not running, with users' URL https://mcp.example.com."""
    for name in os.environ:
        if name.startswith("PENSTOCK_RELAY_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PENSTOCK_RELAY_CONFIG", os.devnull)
    monkeypatch.setenv("PENSTOCK_RELAY_STATE_DIR", str(state))
    monkeypatch.setenv("PENSTOCK_RELAY_PUBLIC_URL", "https://mcp.example.com")
    monkeypatch.setenv("PENSTOCK_RELAY_TUNNEL_URL", "wss://relay.example.com:8443")

    def invoke(*arguments: str) -> Result:
        result = CliRunner().invoke(app, list(arguments), prog_name="penstock-relay")
        assert "Traceback" not in result.output
        return result

    return invoke


@pytest.fixture
def stored(state: Path) -> Callable[[Callable[[Store], Awaitable[T]]], T]:
    """Runs a function on the store that the commands use."""

    def call(work: Callable[[Store], Awaitable[T]]) -> T:
        async def opened() -> T:
            async with await Store.open(f"sqlite+aiosqlite:///{state / 'relay.db'}") as store:
                return await work(store)

        return asyncio.run(opened())

    return call
