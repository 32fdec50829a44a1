"""Private files: complete or absent, and never replaced by accident."""

import os
from pathlib import Path

import pytest

from penstock_relay import files


def test_the_first_creator_wins_and_nothing_is_left_over(tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert files.create(path, b"one") is True
    assert files.create(path, b"two") is False
    assert path.read_bytes() == b"one"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["key"]


def test_replacing_changes_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o644)
    files.replace(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["file"]


def test_a_replacement_that_fails_leaves_nothing_over(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        files.replace(tmp_path / "folder", b"new")
    assert os.listdir(tmp_path) == ["folder"]


def test_an_existing_folder_keeps_its_mode(tmp_path: Path) -> None:
    files.make_folder(tmp_path / "new" / "state")
    assert (tmp_path / "new" / "state").stat().st_mode & 0o777 == 0o700
    tmp_path.chmod(0o750)
    files.make_folder(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o750


def test_what_root_makes_belongs_to_the_owner_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda _fd, uid, gid: given.append((uid, gid)))
    files.create(tmp_path / "key", b"x")
    files.touch(tmp_path / "db")
    owner = tmp_path.stat()
    assert given == [(owner.st_uid, owner.st_gid)] * 2
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    files.create(tmp_path / "other", b"x")
    assert len(given) == 2
