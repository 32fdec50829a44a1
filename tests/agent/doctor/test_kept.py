import asyncio
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from penstock_agent import pausing, state
from penstock_agent.config import Options, Settings, load
from penstock_agent.doctor import kept
from penstock_agent.doctor.findings import Grade
from penstock_agent.gate.pause import Entry, Kind, Paused
from penstock_agent.ledger.entries import Event
from penstock_agent.ledger.opening import open_ledger
from tests.harness.agent_site import Site

DAY = 86_400.0


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    for name in list(os.environ):
        if name.startswith("PENSTOCK_AGENT_") or name == "RUNTIME_DIRECTORY":
            monkeypatch.delenv(name)
    made = Site(tmp_path)
    made.configure("")
    made.join()
    return made


def settings(site: Site) -> Settings:
    return load(Options(site.config, site.state))


def write_ledger(site: Site) -> Path:
    found = settings(site)

    async def write() -> None:
        writer = open_ledger(site.state, state.load(site.state).id, found.ledger)
        writer.record(Event("start", 0))
        await writer.synced()
        writer.close()

    asyncio.run(write())
    return next((site.state / "ledger").glob("*.jsonl"))


def test_a_folder_as_join_leaves_it_is_well(site: Site) -> None:
    assert kept.folder(site.state) == []
    assert kept.writable(site.state) is None
    assert not list(site.state.glob(".probe*"))


def test_a_file_that_others_may_read_is_named_with_the_command(site: Site) -> None:
    key = site.state / "ledger.key"
    key.touch()
    key.chmod(0o640)
    (found,) = kept.folder(site.state)
    assert found.grade is Grade.FAILED
    assert f"chmod 600 {key}" in found.text


def test_the_certificate_by_the_time(site: Site) -> None:
    joined = state.load(site.state)
    begins, ends = joined.certificate.not_valid_before_utc.timestamp(), joined.expires.timestamp()
    life = ends - begins

    def grade(now: float) -> Grade:
        return kept.certificate(joined, now).grade

    assert grade(begins + life / 3) is Grade.OK
    assert grade(ends - life / 10) is Grade.WARNING
    assert grade(begins - 60) is grade(ends + 60) is Grade.FAILED
    assert "penstock-agent renew" in kept.certificate(joined, ends + DAY).text
    assert "join --replace" in kept.certificate(joined, ends + 91 * DAY).text


def test_a_whole_ledger_and_one_that_was_changed(site: Site) -> None:
    file = write_ledger(site)
    assert next((each.check, each.grade) for each in kept.ledger(settings(site))) == ("ledger", Grade.OK)
    lines = file.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"kind":"', b'"kind":"x', 1)
    file.write_bytes(b"".join(lines))
    found = next(iter(kept.ledger(settings(site))))
    assert found.grade is Grade.FAILED
    assert "not whole behind record 1" in found.text
    assert "ledger verify" in found.text


def test_what_a_crash_leaves_of_a_last_line_is_a_warning(site: Site) -> None:
    file = write_ledger(site)
    with file.open("ab") as end:
        end.write(b'{"n":3')
    found = next(iter(kept.ledger(settings(site))))
    assert found.grade is Grade.WARNING
    assert "ends within a line" in found.text


def test_a_ledger_that_has_not_begun_is_none_to_worry_about(site: Site) -> None:
    found = list(kept.ledger(settings(site)))
    assert [each.grade for each in found] == [Grade.OK]


def test_a_ledger_that_may_outgrow_the_disk_is_a_warning(site: Site) -> None:
    write_ledger(site)
    site.configure('[ledger]\nmax_size = "900000 TiB"\n')
    found = list(kept.ledger(settings(site)))
    assert [each.check for each in found if each.grade is Grade.WARNING] == ["disk"]


def test_a_disk_that_is_almost_full_fails_once_the_reserve_is_gone(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ledger(site)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4 << 20))

    def disk() -> Grade:
        return next(each.grade for each in kept.ledger(settings(site)) if each.check == "disk")

    assert disk() is Grade.WARNING
    (site.state / "ledger/reserve").unlink()
    assert disk() is Grade.FAILED


def test_what_is_paused_is_named_with_the_way_back(site: Site) -> None:
    pausing.save(site.state, Paused((Entry(Kind.SERVER, "files", time.time()),)))
    (found,) = kept.stopped(settings(site))
    assert found.grade is Grade.WARNING
    assert found.text == "The server files is paused. To go on: penstock-agent resume files"


def test_what_was_approved_and_cannot_be_read_is_a_failure(site: Site) -> None:
    site.add_server(["*"])
    (site.state / "pins").mkdir()
    (site.state / "pins/files.json").write_text("{")
    (found,) = kept.stopped(settings(site))
    assert (found.grade, found.server) == (Grade.FAILED, "files")
    assert "tools approve files --all" in found.text
