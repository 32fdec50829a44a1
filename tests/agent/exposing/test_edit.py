import os
import stat
from pathlib import Path

import pytest

from penstock_agent import config
from penstock_agent.config import Options, Settings
from penstock_agent.exposing import edit
from penstock_agent.settings_file import ConfigError

TEXT = """\
# the site's file
max_children = 8   # a small machine

[servers.files]   # documents
command = ["prog",   "/srv"]  # spaces stay
expose = ["old"]  # reviewed in May

[servers."crm"]
command = ["crm"]
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    path = tmp_path / "agent.toml"
    path.write_text(TEXT)
    path.chmod(0o640)
    return config.load(Options(config=path, state_dir=tmp_path))


def test_only_the_list_changes(settings: Settings) -> None:
    changed = edit.set_expose(settings, "files", ["tool:a", "tool:b"])
    text = settings.config_file.read_text()
    assert text == TEXT.replace('["old"]', '["tool:a", "tool:b"]')
    assert changed.server("files").expose == ("tool:a", "tool:b")


def test_a_list_is_added_where_there_was_none(settings: Settings) -> None:
    edit.set_expose(settings, "crm", ["x"])
    assert settings.config_file.read_text() == TEXT + 'expose = ["x"]\n'


def test_an_unchanged_list_leaves_the_file_alone(settings: Settings) -> None:
    before = settings.config_file.stat()
    edit.set_expose(settings, "files", ["old"])
    after = settings.config_file.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_long_list_has_one_pattern_a_line(settings: Settings) -> None:
    patterns = [f"tool:a_rather_long_name_{n}" for n in range(10)]
    edit.set_expose(settings, "files", patterns)
    lines = settings.config_file.read_text().splitlines()
    assert sum("a_rather_long_name" in line for line in lines) == 10
    assert settings.reload().server("files").expose == tuple(patterns)


def test_mode_and_owner_stay(settings: Settings) -> None:
    before = settings.config_file.stat()
    edit.set_expose(settings, "files", ["new"])
    after = settings.config_file.stat()
    assert stat.S_IMODE(after.st_mode) == 0o640
    assert (before.st_uid, before.st_gid) == (after.st_uid, after.st_gid)
    assert before.st_ino != after.st_ino  # replaced, not rewritten: a reader sees the old text or the new


def test_a_link_to_the_file_stays_a_link(settings: Settings, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(settings.config_file)
    edit.set_expose(config.load(Options(config=link, state_dir=tmp_path)), "files", ["new"])
    assert link.is_symlink()
    assert "new" in settings.config_file.read_text()


def test_inline_tables_are_edited_too(tmp_path: Path) -> None:
    text = 'servers = { files = { command = ["p"] } }\n'
    changed = edit.with_expose(text, tmp_path, "files", ["a"])
    assert config.parse(changed, tmp_path, Options(), {}).server("files").expose == ("a",)


def test_an_unknown_server_is_refused(settings: Settings) -> None:
    with pytest.raises(ConfigError, match=r"no \[servers.mail\] table"):
        edit.set_expose(settings, "mail", ["a"])
    assert settings.config_file.read_text() == TEXT


def test_a_text_that_would_not_load_is_never_written(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="starts with no known kind"):
        edit.set_expose(settings, "files", ["nonsense:x"])
    assert settings.config_file.read_text() == TEXT


def test_a_failed_write_leaves_file_and_folder_as_they_were(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="cannot be written: No space left on device"):
        edit.set_expose(settings, "files", ["new"])
    assert settings.config_file.read_text() == TEXT
    assert [p.name for p in settings.config_file.parent.iterdir()] == ["agent.toml"]


def test_servers_that_do_not_stand_together_are_found() -> None:
    text = '[servers.a]\ncommand = ["x"]\n[site]\nname = "Plant"\n[servers.b]\ncommand = ["y"]\n'
    assert edit.with_expose(text, Path("f"), "b", ["tool:c"]) == text + 'expose = ["tool:c"]\n'


def test_a_file_that_is_not_there_yet_is_made_for_its_owner_only(settings: Settings) -> None:
    settings.config_file.rename(settings.config_file.with_name("elsewhere"))
    made = edit.change(settings, lambda text, _: text + "max_children = 3\n", create=True, backup=".old")
    assert made.max_children == 3
    assert stat.S_IMODE(settings.config_file.stat().st_mode) == 0o600
    assert not settings.config_file.with_name("agent.toml.old").exists()


def test_a_backup_has_the_old_text_and_the_same_mode(settings: Settings) -> None:
    edit.change(settings, lambda text, _: text + "\n", backup=".old")
    kept = settings.config_file.with_name("agent.toml.old")
    assert kept.read_text() == TEXT
    assert stat.S_IMODE(kept.stat().st_mode) == 0o640
