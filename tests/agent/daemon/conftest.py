"""No test of this folder has a real endpoint."""

from __future__ import annotations

import pytest

from penstock_agent.daemon import daemon
from tests.agent.daemon.running import FakeEndpoint


@pytest.fixture(autouse=True)
def fake_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "Endpoint", FakeEndpoint)
