"""What was approved, on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock_agent import pinning
from penstock_agent.gate import pins
from penstock_agent.gate.overrides import Override
from penstock_agent.gate.pins import Broken
from penstock_agent.problem import Problem
from penstock_agent.server_settings import ServerSettings, ToolAnnotations, ToolSettings


def test_what_is_approved_is_found_again_and_is_nobody_elses_to_read(tmp_path: Path) -> None:
    assert pinning.load(tmp_path, "files") is None
    pinned = pins.compared(
        pins.first({"tool:ä": '{"name":"ä"}'.encode()}, "be nice", 5.0, 3), {"tool:b": b"{}"}, "be nice", 6.0
    )
    pinning.save(tmp_path, "files", pinned)
    assert pinning.load_all(tmp_path, ["files", "crm"]) == {"files": pinned, "crm": None}
    path = tmp_path / "pins" / "files.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"approved":{}}', b"\xff", b'{"approved":5}'])
def test_a_file_that_cannot_be_read_is_no_fresh_start(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "pins").mkdir()
    (tmp_path / "pins" / "files.json").write_bytes(data)
    found = pinning.load(tmp_path, "files")
    assert isinstance(found, Broken)
    assert "files.json is not what this agent writes" in found.why
    (tmp_path / "pins" / "crm.json").mkdir()
    other = pinning.load(tmp_path, "crm")
    assert isinstance(other, Broken)
    assert "cannot be read" in other.why


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="cannot be written"):
        pinning.save(tmp_path / "nowhere", "files", pins.first({}, "", 1.0))


def test_the_sites_words_come_from_the_settings() -> None:
    tool = ToolSettings(description="ours", annotations=ToolAnnotations(readOnlyHint=True))
    servers = {
        "files": ServerSettings(command=("x",), tools={"read": tool}),
        "crm": ServerSettings(command=("x",)),
    }
    assert pinning.overrides(servers) == {
        "files": {"read": Override(None, "ours", {"readOnlyHint": True})},
    }
