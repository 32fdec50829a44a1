"""The file of the settings: which one may be read at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from penstock_agent import config, settings_file
from penstock_agent.config import Options
from penstock_agent.settings_file import ConfigError

SERVER = '[servers.files]\ncommand = ["prog"]\n'


def test_a_missing_named_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        config.load(Options(config=tmp_path / "agent.toml"), {})
    with pytest.raises(ConfigError, match="does not exist"):
        config.load(Options(), {"PENSTOCK_AGENT_CONFIG": str(tmp_path / "agent.toml")})


@pytest.mark.parametrize("mode", [0o666, 0o602, 0o660, 0o620])
def test_a_file_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(SERVER)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=rf"can be written by others \(mode {mode:04o}\).*chmod go-w"):
        config.load(Options(config=path), {})
    path.chmod(0o644)
    assert "files" in config.load(Options(config=path), {}).servers


def test_a_file_of_another_user_is_refused() -> None:
    stranger = os.geteuid() + 4711
    info = os.stat_result((stat.S_IFREG | 0o600, 1, 1, 1, stranger, 0, 0, 0, 0, 0))
    with pytest.raises(ConfigError, match=f"belongs to another user .uid {stranger}"):
        settings_file._check_safe(Path("/x"), info)
    settings_file._check_safe(Path("/x"), os.stat_result((stat.S_IFREG | 0o600, 1, 1, 1, 0, 0, 0, 0, 0, 0)))


def test_a_folder_or_pipe_is_no_settings_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        config.load(Options(config=tmp_path), {})


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigError, match="not UTF-8 at byte 5"):
        config.load(Options(config=path), {})
