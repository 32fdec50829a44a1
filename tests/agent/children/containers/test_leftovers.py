from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from penstock_agent.children.containers import leftovers, podman
from penstock_agent.children.containers.podman import PodmanError
from penstock_agent.server_settings import ServerSettings
from penstock_agent.servers import owner, spec

IMAGE = "docker.io/mcp/fetch@sha256:" + "0f" * 32


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []

    def sweep(owner: str, agent: object) -> list[str]:
        found.append(owner)
        return ["penstock-x-1"]

    monkeypatch.setattr(podman, "sweep", sweep)
    return found


async def test_without_servers_in_containers_nothing_is_asked(asked: list[str], tmp_path: Path) -> None:
    await leftovers.remove([spec(tmp_path, "a", ServerSettings(command=("true",)), os.environ)])
    assert asked == []


async def test_those_of_this_agent_are_removed_at_once_for_all_servers(
    asked: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await leftovers.remove([spec(tmp_path, n, ServerSettings(image=IMAGE), os.environ) for n in ("a", "b")])
    assert asked == [owner(tmp_path)]
    assert "containers_removed" in caplog.text


async def test_a_podman_that_fails_keeps_no_agent_from_starting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def sweep(owner: str, agent: object) -> list[str]:
        raise PodmanError("no luck")

    monkeypatch.setattr(podman, "sweep", sweep)
    await leftovers.remove([spec(tmp_path, "a", ServerSettings(image=IMAGE), os.environ)])
    assert "containers_not_swept" in caplog.text
