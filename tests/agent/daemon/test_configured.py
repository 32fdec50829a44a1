"""What follows from the settings: how each server would be confined on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from penstock_agent.children.child import ChildSpec
from penstock_agent.children.confinement import kernel
from penstock_agent.children.confinement.kernel import Kernel
from penstock_agent.config import Options, load
from penstock_agent.daemon import configured
from penstock_agent.problem import Exit, Problem
from tests.agent.daemon.running import FILES


def confined_here(tmp_path: Path, text: str) -> Mapping[str, ChildSpec]:
    file = tmp_path / "agent.toml"
    file.write_text(text)
    return configured.specs(load(Options(file, tmp_path / "state"), {}))


def test_a_kernel_without_landlock_is_said_in_the_log_of_each_server_that_would_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str, str]] = []

    class Log:
        def warning(self, event: str, *, server: str, **_more: object) -> None:
            said.append((event, server))

    monkeypatch.setattr(configured, "_log", Log())
    monkeypatch.setattr(kernel, "look", lambda: Kernel(machine="x86_64", seccomp=True))
    more = '[servers.more]\ncommand = ["/bin/cat"]\nisolation = "process"\n'
    assert set(confined_here(tmp_path, FILES + more)) == {"files", "more"}
    assert said == [("less_confined", "files")]


def test_a_level_that_cannot_be_had_is_a_mistake_in_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "look", lambda: Kernel(machine="x86_64", seccomp=True))
    with pytest.raises(Problem, match=r'servers.files: isolation = "landlock" cannot be had') as refused:
        confined_here(tmp_path, FILES + 'isolation = "landlock"\n')
    assert refused.value.status == Exit.USAGE
