from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from penstock_agent.children.containers import podman
from penstock_agent.children.containers.podman import PodmanError
from tests.harness.images import Images

HOST: dict[str, object] = {
    "security": {"rootless": True},
    "cgroupControllers": ["memory", "pids"],
    "idMappings": {"uidmap": [{"size": 1}, {"size": 65536}], "gidmap": [{"size": 65537}]},
}
INFO: dict[str, object] = {"host": HOST, "version": {"Version": "4.3.1"}}
POOR: dict[str, object] = {**HOST, "idMappings": {"uidmap": [{"size": 1}], "gidmap": [{"size": 1}]}}


@pytest.fixture
def pretended(tmp_path: Path) -> dict[str, str]:
    """The environment of an agent whose podman says ``answer`` and ends as ``status`` says."""
    program = tmp_path / "podman"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\ncat {tmp_path}/answer\n'
        f'echo "Error: no luck." >&2\nexit $(cat {tmp_path}/status)\n'
    )
    program.chmod(0o755)
    (tmp_path / "answer").write_text(json.dumps(INFO))
    (tmp_path / "status").write_text("0")
    return {"PATH": f"{tmp_path}:/usr/bin:/bin"}


def test_what_podman_can_do_is_asked_once(pretended: dict[str, str], tmp_path: Path) -> None:
    found = podman.look(pretended)
    assert (found.version, found.rootless, found.bounded) == ("4.3.1", True, True)
    assert podman.look(pretended) is found
    assert (tmp_path / "asked").read_text() == "info --format json\n"
    podman.look(pretended, again=True)
    assert (tmp_path / "asked").read_text().count("info") == 2


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (INFO, "125", "podman info failed: no luck. Run it by hand"),
        ({}, "0", "Podman 4.3 or newer is needed"),
        ({**INFO, "host": POOR}, "0", "sudo usermod --add-subuids"),
    ],
)
def test_what_it_lacks_is_said_with_the_next_step(
    answer: object, status: str, words: str, pretended: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "answer").write_text(json.dumps(answer))
    (tmp_path / "status").write_text(status)
    with pytest.raises(PodmanError) as refused:
        podman.look(pretended)
    assert words in str(refused.value)


def test_without_podman_it_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(PodmanError, match="apt-get install podman"):
        podman.look({"PATH": str(tmp_path)})


def test_a_podman_that_hangs_is_not_waited_for(
    pretended: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "answer").unlink()
    os.mkfifo(tmp_path / "answer")
    monkeypatch.setattr(podman, "ASK_S", 0.1)
    with pytest.raises(PodmanError, match=r"podman info did not end within 0\.1 s"):
        podman.look(pretended)


def test_root_s_folders_are_not_those_of_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1)  # daemon, on every machine
    found = podman.own({"HOME": "/root", "XDG_RUNTIME_DIR": "/run/user/0", "PATH": "/bin", "SECRET": "x"})
    assert found == {"HOME": "/usr/sbin", "PATH": "/bin"}


def test_an_image_that_is_here_is_told_from_one_that_is_not(podman_: Images) -> None:
    assert podman.has(podman_.image, os.environ)
    assert not podman.has(f"localhost/none@sha256:{'0' * 64}", os.environ)


def test_the_digest_of_an_image_that_is_here_is_found(podman_: Images) -> None:
    assert podman.fixed("localhost/penstock/python:1", os.environ) == podman_.image
    with pytest.raises(
        PodmanError, match=r"podman pull -q docker\.io/mcp/fetch:latest && podman image inspect"
    ):
        podman.fixed("mcp/fetch", os.environ)


def test_an_image_that_cannot_be_fetched_is_said(podman_: Images) -> None:
    with pytest.raises(PodmanError, match="podman pull localhost:9/none@sha256:"):
        podman.pull(f"localhost:9/none@sha256:{'0' * 64}", os.environ)


@pytest.fixture
def podman_(podman: Images) -> Images:
    return podman
