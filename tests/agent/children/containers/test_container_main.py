"""With a podman that is a script: what is asked of it, and when."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from penstock_agent.children.containers import container_main
from tests.agent.children.kit import dead_within

PROGRAM = container_main.__file__
WAIT_S = 20.0


@pytest.fixture
def pretended(tmp_path: Path) -> Path:
    """``podman run`` becomes a shell that runs what it is given, ``podman rm`` kills it and says so."""
    program = tmp_path / "podman"
    program.write_text(
        "#!/bin/sh\n"
        f'if [ "$1" = rm ]; then echo "$@" >> {tmp_path}/removed; kill -9 $(cat {tmp_path}/pid); exit 0; fi\n'
        f'echo $$ > {tmp_path}/pid; shift; exec sh -c "$1"\n'
    )
    program.chmod(0o755)
    return program


def started(podman: Path, script: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", PROGRAM, "penstock-x-1", podman, "run", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PATH": os.environ["PATH"]},
        start_new_session=True,
    )


@pytest.mark.parametrize(("script", "status"), [("exit 7", 7), ("kill -9 $$", 137), ("cat", 0)])
def test_it_ends_as_podman_ends(script: str, status: int, pretended: Path) -> None:
    with started(pretended, script) as one:
        out, _ = one.communicate(b"hello\n", WAIT_S)
        assert one.returncode == status
        assert out == (b"hello\n" if script == "cat" else b"")


def test_whoever_is_asked_to_end_passes_that_on(pretended: Path) -> None:
    with started(pretended, "trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done") as one:
        assert one.stdout is not None
        assert one.stdout.readline() == b"up\n"
        one.send_signal(signal.SIGTERM)
        assert one.wait(WAIT_S) == 3


def test_when_it_is_killed_podman_is_asked_to_remove_the_container_and_is_not_killed(
    pretended: Path, tmp_path: Path
) -> None:
    with started(pretended, "echo up; exec sleep 600") as one:
        assert one.stdout is not None
        assert one.stdout.readline() == b"up\n"
        podman = int((tmp_path / "pid").read_text())
        assert os.getpgid(podman) != os.getpgid(one.pid)
        os.killpg(one.pid, signal.SIGKILL)
        assert dead_within(podman, WAIT_S)
        assert (
            (tmp_path / "removed")
            .read_text()
            .startswith("rm --force --time=0 --volumes --ignore penstock-x-1")
        )
