import os
from pathlib import Path

import pytest

from penstock_agent.adding import hosts
from penstock_agent.adding.hosts import CannotRead, Source


def put(path: Path, text: str = "{}") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(("host", "name"), hosts.OF_HOMES)
def test_each_hosts_file_is_found_where_it_lies(tmp_path: Path, host: str, name: str) -> None:
    path = put(tmp_path / name)
    assert [(s.host, s.path, s.home, s.project) for s in hosts.find([tmp_path], None)] == [
        (host, path, tmp_path, None)
    ]
    assert hosts.of_file(path).home == tmp_path or hosts.of_file(path).project is not None


@pytest.mark.parametrize(("host", "name"), hosts.OF_PROJECTS)
def test_so_is_a_projects(tmp_path: Path, host: str, name: str) -> None:
    home, project = tmp_path / "home", tmp_path / "shop"
    home.mkdir()
    path = put(project / name)
    assert [(s.host, s.path, s.project) for s in hosts.find([home], project)] == [(host, path, project)]
    found = hosts.of_file(path)
    assert (found.host, found.project) == (host, project)


def test_a_home_that_is_the_project_is_looked_at_once(tmp_path: Path) -> None:
    put(tmp_path / ".cursor/mcp.json")
    assert len(list(hosts.find([tmp_path], tmp_path))) == 1


def test_any_other_file_is_just_a_file(tmp_path: Path) -> None:
    assert hosts.of_file(tmp_path / "servers.json").host == "file"


def test_ones_own_home_is_looked_at_first() -> None:
    assert hosts.homes()[0] == Path.home()


def source(path: Path) -> Source:
    return Source(path, "file", path.parent)


def test_utf_8_with_and_without_mark_and_utf_16_are_read(tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "f").write_bytes('{"ä": 1}'.encode(encoding))
        assert hosts.read(source(tmp_path / "f")) == '{"ä": 1}'


def test_what_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CannotRead, match="No such file"):
        hosts.read(source(tmp_path / "none"))
    (tmp_path / "bytes").write_bytes(b"\xc3(")
    with pytest.raises(CannotRead, match="not UTF-8 at byte 0"):
        hosts.read(source(tmp_path / "bytes"))
    monkeypatch.setattr(hosts, "MAX_FILE_BYTES", 3)
    with pytest.raises(CannotRead, match="larger than"):
        hosts.read(source(put(tmp_path / "big", "{    }")))


def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CannotRead, match="not a regular file"):
        hosts.read(source(tmp_path / "pipe"))
