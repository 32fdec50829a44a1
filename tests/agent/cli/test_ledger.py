"""`ledger report`, `show`, `verify`, `export`: as an administrator calls them."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path

import pytest

from penstock import __version__
from penstock.ledgerhead import as_json
from penstock_agent.ledger.entries import Event, Verdict
from penstock_agent.ledger.segments import KEPT
from tests.agent.ledger.book import ALICE, BOB, decision, files, ledger, sent
from tests.harness.agent_site import Site


@pytest.fixture
def written(site: Site) -> Site:
    """Somebody's calls, and one that was denied."""
    site.join()

    async def write() -> None:
        with ledger(site.state, clock=None) as writer:
            writer.record(Event("started"))
            for number in range(3):
                writer.record(decision(number))
                writer.record(sent(number, b"x" * 1000))
            writer.record(decision(9, BOB, Verdict.DENIED))

    asyncio.run(write())
    return site


def last_head(state: Path) -> dict[str, object]:
    async def head() -> dict[str, object]:
        with ledger(state) as writer:
            writer.record(Event("more"))
            writer.sign()
            await writer.synced()
            found = writer.current()
            assert found is not None
            return dict(as_json(found, "acme", "one"))

    return asyncio.run(head())


def test_the_report_says_who_used_what_and_that_the_ledger_is_whole(written: Site) -> None:
    done = written.run("ledger", "report", "--since", "2026-01-01")
    assert done.status == 0
    assert "2 people made 3 requests; 2.9 KiB left the site." in done.stdout
    assert "Denied: 1." in done.stdout
    assert "The ledger is whole: verified up to record " in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.startswith("Alice"))
    assert row.split()[:3] == ["Alice", "Example", "<alice@example.com>"]
    assert "files: read_file" in row
    machine = written.run("ledger", "report", "--since", "2026-01-01", "--json").json
    assert machine["total"] == {
        "calls": 3, "bytes": 3000, "denied": 1, "waiting": 0, "failed": 0, "masked": 0,
    }  # fmt: skip
    assert machine["since"].endswith("Z")  # type: ignore[attr-defined]  # RFC 3339


def test_what_is_older_is_not_in_it(written: Site) -> None:
    done = written.run("ledger", "report", "--since", "2026-09-22", "--quick")
    assert "Nobody used anything." in done.stdout
    assert "The ledger was not verified." in done.stdout


def test_it_is_a_page_for_a_browser(written: Site, tmp_path: Path) -> None:
    done = written.run("ledger", "report", "--since", "2026-01-01", "--html", str(tmp_path / "r.html"))
    assert (done.status, "Written: " in done.stdout) == (0, True)
    text = (tmp_path / "r.html").read_text()
    assert "Alice Example &lt;alice@example.com&gt;" in text
    nowhere = written.run("ledger", "report", "--html", str(tmp_path / "none" / "r.html"))
    assert nowhere.status == 1
    assert "cannot be written" in nowhere.stderr


def test_a_ledger_that_is_not_whole_is_said_first_and_fails(written: Site) -> None:
    path = files(written.state)[0]
    path.write_bytes(path.read_bytes().replace(b'"bytes":1000', b'"bytes":1001', 1))
    for command in (("report", "--since", "2026-01-01"), ("verify",)):
        done = written.run("ledger", *command)
        assert done.status == 1
        assert "it was changed" in done.stdout
        assert "00000001.jsonl, line " in done.stdout
    assert written.run("ledger", "verify", "--json").json["good"] is False


def test_verifying_compares_with_the_key_and_with_what_the_relay_gave_back(written: Site) -> None:
    head = last_head(written.state)
    (written.state / KEPT).write_text(json.dumps(head))
    good = written.run("ledger", "verify")
    assert good.status == 0
    assert "GOOD: records 1 to " in good.stdout
    assert f"Goes on from {KEPT}: record {head['n']}" in good.stdout
    assert "own word" not in good.stdout
    path = files(written.state)[0]
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:5]))
    bad = written.run("ledger", "verify")
    assert bad.status == 1
    assert "cut short" in bad.stdout


def test_a_copy_is_verified_with_a_head_from_a_file(written: Site, tmp_path: Path) -> None:
    (tmp_path / "head.json").write_text(json.dumps([last_head(written.state)]))
    shutil.copytree(written.state / "ledger", tmp_path / "copy")
    copy, head = str(tmp_path / "copy"), str(tmp_path / "head.json")
    done = written.run("ledger", "verify", "--dir", copy, "--head", head)
    assert (done.status, "Goes on from head.json" in done.stdout) == (0, True)
    wrong = written.run("ledger", "verify", "--dir", copy, "--key", "A" * 43)
    assert wrong.status == 1
    assert "names another key" in wrong.stdout
    for arguments in (("--key", "x"), ("--head", "/none"), ("--dir", "/none")):
        assert written.run("ledger", "verify", *arguments).status == 2


def test_records_are_shown_the_newest_last_and_as_many_as_wanted(written: Site) -> None:
    lines = written.run("ledger", "show").stdout.splitlines()
    assert len(lines) == 8
    assert "started" in lines[0]
    assert "files tool:read_file: denied (expose)  [bob, c2]" in lines[-1]
    assert written.run("ledger", "show", "-n", "2").stdout.splitlines() == lines[-2:]
    assert written.run("ledger", "show", "--denied").stdout.splitlines() == lines[-1:]
    assert len(written.run("ledger", "show", "--person", "alice").stdout.splitlines()) == 6
    assert (
        len(written.run("ledger", "show", "--exchange", "k-1", "--tool", "read_*").stdout.splitlines()) == 2
    )
    assert written.run("ledger", "show", "--server", "crm").stdout == ""
    [first, *_] = written.run("ledger", "show", "--json", "--person", "alice").stdout.splitlines()
    assert json.loads(first)["who"]["email"] == ALICE.email


def test_an_export_is_all_of_it_with_the_callers(written: Site) -> None:
    said = [json.loads(line) for line in written.run("ledger", "export").stdout.splitlines()]
    assert [each["n"] for each in said] == list(range(1, len(said) + 1))
    assert said[-2]["who"]["subject"] == "bob"
    assert said[0]["kind"] == "segment"
    assert written.run("ledger", "export", "--since", "2027-01-01").stdout == ""


def test_an_export_for_a_collector_has_the_same_records_in_its_format(written: Site) -> None:
    said = [
        json.loads(line) for line in written.run("ledger", "export", "--format", "jsonl").stdout.splitlines()
    ]
    lines = written.run("ledger", "export", "--format", "cef").stdout.splitlines()
    assert len(lines) == len(said)
    numbers = [re.search(r" externalId=(\d+)( |$)", line) for line in lines]
    assert [found and int(found[1]) for found in numbers] == [one["n"] for one in said]
    (denied,) = (line for line in lines if "|decision/denied|" in line)
    assert denied.startswith(f"CEF:0|Penstock|agent|{__version__}|decision/denied|Request denied|6|rt=")
    assert " suid=bob " in denied
    assert written.run("ledger", "export", "--format", "xml").status == 2


def test_wrong_moments_and_missing_ledgers_are_said_in_words(site: Site) -> None:
    wrong = site.run("ledger", "show", "--since", "soon")
    assert wrong.status == 2
    assert "Write yesterday, today, 7d" in wrong.stderr
    for command in ("show", "report", "export"):
        none = site.run("ledger", command)
        assert none.status == 1
        assert "it begins when the agent runs for the first time" in none.stderr
    assert site.run("ledger", "verify").status == 2


def test_what_comes_is_followed(written: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from penstock_agent.ledger import reading

    waits = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) > 1:
            raise KeyboardInterrupt
        last_head(written.state)

    follow = reading.follow
    monkeypatch.setattr(reading, "follow", lambda folder, since: follow(folder, since, wait))
    done = written.run("ledger", "show", "--follow", "-n", "1")
    shown = done.stdout.splitlines()
    assert len(shown) == 2
    assert "denied" in shown[0]
    assert "more" in shown[1]
