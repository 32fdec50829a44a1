import os
from pathlib import Path

import pytest

from penstock_agent.children.environment import (
    DEFAULT_PATH,
    BadEnvironment,
    clean_environment,
    prepare,
)

HOME = Path("/var/lib/penstock-agent/servers/files")

AGENT = {
    "PATH": "/opt/tools/bin:/usr/bin",
    "LANG": "de_DE.UTF-8",
    "TZ": "Europe/Berlin",
    "HOME": "/home/agent",
    "NOTIFY_SOCKET": "/run/systemd/notify",
    "WATCHDOG_USEC": "30000000",
    "CREDENTIALS_DIRECTORY": "/run/credentials/penstock-agent",
    "LISTEN_FDS": "3",
    "PENSTOCK_AGENT_STATE_DIR": "/var/lib/penstock-agent",
    "HTTPS_PROXY": "http://user:secret@proxy:3128",
    "LD_PRELOAD": "/tmp/x.so",
}


def test_a_child_gets_these_names_and_no_other() -> None:
    env = clean_environment(HOME, {"API_URL": "http://crm"}, AGENT)
    assert env == {
        "PATH": "/opt/tools/bin:/usr/bin",
        "LANG": "de_DE.UTF-8",
        "TZ": "Europe/Berlin",
        "HOME": "/var/lib/penstock-agent/servers/files",
        "TMPDIR": "/var/lib/penstock-agent/servers/files/tmp",
        "XDG_CACHE_HOME": "/var/lib/penstock-agent/servers/files/.cache",
        "XDG_CONFIG_HOME": "/var/lib/penstock-agent/servers/files/.config",
        "XDG_DATA_HOME": "/var/lib/penstock-agent/servers/files/.local/share",
        "XDG_STATE_HOME": "/var/lib/penstock-agent/servers/files/.local/state",
        "API_URL": "http://crm",
    }


def test_an_agent_without_environment_gives_defaults_and_no_time_zone() -> None:
    env = clean_environment(HOME, {}, {})
    assert env["PATH"] == DEFAULT_PATH
    assert env["LANG"] == "C.UTF-8"
    assert "TZ" not in env


def test_what_is_declared_wins() -> None:
    assert clean_environment(HOME, {"PATH": "/only/this", "HOME": "/x"}, AGENT)["PATH"] == "/only/this"


def test_relative_entries_of_path_are_left_out() -> None:
    assert clean_environment(HOME, {}, {"PATH": ".:/usr/bin::bin:/bin"})["PATH"] == "/usr/bin:/bin"


@pytest.mark.parametrize("declared", [{"": "x"}, {"A=B": "x"}, {"A\0": "x"}, {"A": "x\0SECRET"}])
def test_a_variable_that_cannot_be_given_is_named_without_its_value(declared: dict[str, str]) -> None:
    with pytest.raises(BadEnvironment) as refused:
        clean_environment(HOME, declared, {})
    assert "env" in str(refused.value)
    assert "SECRET" not in str(refused.value)


def test_the_folders_of_a_server_are_made_for_the_agent_s_user_only(tmp_path: Path) -> None:
    prepare(tmp_path, "files", ("server", "--now"), {"K": "v"}, {})
    spec = prepare(tmp_path, "files", ("server", "--now"), {"K": "v"}, {})
    assert spec.folder == tmp_path / "servers" / "files"
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        folder = Path(spec.env[name])
        assert folder.is_dir()
        assert folder.is_relative_to(spec.folder)
    for folder in (tmp_path / "servers", spec.folder, spec.folder / "tmp"):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.stat().st_uid == os.getuid()


def test_a_relative_state_folder_gives_a_child_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = prepare(Path("state"), "files", ("server",), {}, {})
    assert spec.folder == tmp_path / "state" / "servers" / "files"
    assert spec.env["HOME"] == str(spec.folder)


def test_command_and_environment_are_not_in_the_repr(tmp_path: Path) -> None:
    spec = prepare(tmp_path, "files", ("server", "--token=SECRET"), {"KEY": "SECRET"}, {})
    assert "SECRET" not in repr(spec)
