from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock_agent import pausing
from penstock_agent.gate.pause import Entry, Kind, Paused
from penstock_agent.problem import Problem


def test_what_is_paused_is_found_again(tmp_path: Path) -> None:
    assert pausing.load(tmp_path) == Paused()
    paused = Paused((Entry(Kind.SERVER, "files", 5.0, 0), Entry(Kind.EVERYTHING, "", 6.0, 1000)))
    pausing.save(tmp_path, paused)
    assert pausing.load(tmp_path) == paused
    assert (tmp_path / pausing.FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("data", [b"", b"[", b'[{"kind":"who"}]', b'[{"kind":"server","more":1}]', b"\xff"])
def test_a_file_that_cannot_be_read_stops_the_agent_rather_than_let_things_go_on(
    tmp_path: Path, data: bytes
) -> None:
    (tmp_path / pausing.FILE).write_bytes(data)
    with pytest.raises(Problem, match="Remove the file"):
        pausing.load(tmp_path)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="cannot be written"):
        pausing.save(tmp_path / "nowhere", Paused())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand files to others")
def test_root_leaves_a_file_that_the_agent_can_read(tmp_path: Path) -> None:
    theirs = tmp_path / "state"
    theirs.mkdir()
    os.chown(theirs, 12345, 23456)
    pausing.save(theirs, Paused((Entry(Kind.EVERYTHING),)))
    info = (theirs / pausing.FILE).stat()
    assert (info.st_uid, info.st_gid, info.st_mode & 0o777) == (12345, 23456, 0o600)
