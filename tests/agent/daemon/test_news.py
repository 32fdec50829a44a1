"""Who hears of what happened on site."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from penstock_agent import control
from penstock_agent.daemon import daemon
from penstock_agent.hooks import Hooks
from penstock_agent.ledger.opening import open_ledger
from penstock_agent.ledger.writer import Writer
from tests.agent.daemon.running import FILES, agent_of

BOTH_LOOPS = True


async def test_the_sites_own_program_hears_what_happened_and_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, Mapping[str, object]]] = []
    ledgers: list[Writer] = []

    def opened(*args: object) -> Writer:
        ledgers.append(open_ledger(*args))  # type: ignore[arg-type]  # handed on as they are
        return ledgers[0]

    monkeypatch.setattr(daemon, "open_ledger", opened)
    monkeypatch.setattr(Hooks, "tell", lambda _, what, about: told.append((what, about)))
    async with agent_of(tmp_path, FILES) as agent:
        name = (await control.status(agent.control)).agent
        ledgers[0].alarm("the disk is full")
        ledgers[0].alarm("")
    assert [(what, about["site"], about["agent"], about["why"]) for what, about in told] == [
        ("ledger_failing", "plant", name, "the disk is full"),
        ("ledger_recovered", "plant", name, ""),
    ]
