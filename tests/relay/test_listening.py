"""listening.json: written whole, believed only while its process lives."""

import os
import subprocess
import sys
from pathlib import Path

from penstock_relay import listening
from penstock_relay.listening import Listening


def sample(pid: int) -> Listening:
    return Listening(
        pid, "http://127.0.0.1:1", "127.0.0.1:1", "wss://127.0.0.1:2", "127.0.0.1:2", "127.0.0.1:3"
    )


def test_what_was_written_is_read_while_the_process_lives(tmp_path: Path) -> None:
    listening.write(tmp_path, sample(os.getpid()))
    assert listening.read(tmp_path) == sample(os.getpid())
    assert (tmp_path / "listening.json").stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["listening.json"]


def test_the_file_of_a_dead_process_is_not_believed(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    child.wait()
    listening.write(tmp_path, sample(child.pid))
    assert listening.read(tmp_path) is None


def test_no_file_or_a_damaged_one_is_no_relay(tmp_path: Path) -> None:
    assert listening.read(tmp_path) is None
    for text in ("{", "{}", '{"pid": "x"}', "[]", ""):
        (tmp_path / "listening.json").write_text(text)
        assert listening.read(tmp_path) is None


def test_a_relay_removes_its_own_file_only(tmp_path: Path) -> None:
    listening.write(tmp_path, sample(os.getpid()))
    listening.remove(tmp_path, os.getpid() + 1)
    assert listening.read(tmp_path) is not None
    listening.remove(tmp_path, os.getpid())
    assert os.listdir(tmp_path) == []
    listening.remove(tmp_path, os.getpid())
