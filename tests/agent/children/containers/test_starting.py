from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock_agent.children.confinement.kernel import Kernel
from penstock_agent.children.confinement.plan import CannotConfine, Confinement, Level
from penstock_agent.children.containers import podman, starting
from penstock_agent.children.containers.podman import Podman
from penstock_agent.children.containers.run import Container, Mount

IMAGE = "docker.io/mcp/fetch@sha256:" + "0f" * 32


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(podman, "look", lambda agent: Podman("/usr/bin/podman", "4.3.1", True, frozenset()))


def told(folder: Path, *mounts: Mount, **env: str) -> tuple[tuple[str, ...], dict[str, str], list[str]]:
    return starting.told(
        Container(IMAGE, "4a", mounts),
        Confinement(Level.CONTAINER, network=False, hidden=(folder,)),
        Kernel(counts=True),
        server="fetch",
        command=("--x",),
        declared=env,
        env={name: "hunter2" for name in env},
        folder=folder,
        agent={"PATH": "/usr/bin", "HOME": os.path.expanduser("~"), "SECRET": "of the agent"},
    )


def test_the_launcher_becomes_what_stands_for_the_container(tmp_path: Path) -> None:
    command, env, steps = told(tmp_path, TOKEN="file:/x")
    again, _, _ = told(tmp_path)
    name = command[4]
    assert command[1:4] == ("-I", "-S", command[3])
    assert command[3].endswith("container_main.py")
    assert name.startswith("penstock-fetch-")
    assert name != again[4]
    assert command[5:7] == ("/usr/bin/podman", "run")
    assert f"--name={name}" in command
    assert command[-2:] == (IMAGE, "--x")
    assert env["TOKEN"] == "hunter2"
    assert "SECRET" not in env
    assert not any("hunter2" in word for word in command)
    assert steps == ["limit 4 0", "oom 500"]


@pytest.mark.parametrize("name", ["PATH", "LD_PRELOAD", "XDG_RUNTIME_DIR"])
def test_a_secret_that_podman_would_heed_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(CannotConfine, match=f"{name} in env is a variable of podman's own"):
        told(tmp_path, **{name: "file:/x"})


def test_what_may_not_or_cannot_be_shown_is_refused(tmp_path: Path) -> None:
    for place, words in (
        (tmp_path, "which is the agent's own"),
        (tmp_path.parent, "which contains what is the agent's own"),
        (Path("/nowhere"), "which is not there"),
    ):
        with pytest.raises(CannotConfine, match=f"read names {place}, {words}"):
            told(tmp_path, Mount(place, Path("/data"), False))
    with pytest.raises(CannotConfine, match="cannot be shown in a container"):
        told(tmp_path, Mount(Path("/usr"), Path("/a,b"), False))


def test_the_likely_cause_of_an_end_is_podman_s_only_where_it_was_podman() -> None:
    assert "servers prepare fetch" in starting.likely("fetch", 125, ["Error: x: image not known"])
    assert "penstock-agent doctor" in starting.likely("fetch", 125, [])
    assert starting.likely("fetch", 1, ["image not known"]) == ""
