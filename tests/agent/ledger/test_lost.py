"""What a crash cannot have done to the end of a ledger."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock_agent.ledger import key as keys
from penstock_agent.ledger import verify_main
from penstock_agent.ledger.lost import SURE_S, signed
from penstock_agent.ledger.writer import folder_of
from tests.agent.ledger.book import Clock, decision, files, ledger, lines, records


def written(state: Path, seconds: float) -> list[bytes]:
    """Records 1 to 3 are signed by the head 4; then the ledger goes on for so many seconds."""
    clock = Clock()
    with ledger(state, clock=clock) as writer:
        writer.record(decision())
        writer.sign()
        clock.now += seconds
        writer.record(decision(1))
    return lines(state)


@pytest.mark.parametrize(("seconds", "found"), [(SURE_S + 1, 3), (SURE_S - 1, 0)])
async def test_what_was_signed_long_before_the_end_was_safe(
    tmp_path: Path, seconds: float, found: int
) -> None:
    left = written(tmp_path, seconds)[2:]
    key = keys.load(tmp_path, make=False).public
    assert signed(left, key) == found
    assert signed([b"\x00" * 300, *left, left[-1][:20]], key) == found
    assert signed(left, bytes(32)) == 0, "by another key"
    assert signed([line.replace(b'"of":3', b'"of":9') for line in left], key) == 0, "not signed so"
    for said in (b'"n":9,"at":"2026","kind":"head"}', b'"n":9,"at":"x","kind":"head","of":1}', b"[]"):
        assert signed([b"{" + said], key) == 0


async def test_a_changed_record_is_not_forgotten_by_a_start_of_the_agent(tmp_path: Path) -> None:
    written(tmp_path, 60)
    path = files(tmp_path)[0]
    path.write_bytes(path.read_bytes().replace(b'"item":"tool:read_file"', b'"item":"tool:ride_file"', 1))
    with ledger(tmp_path) as writer:
        assert "Records after 2, up to 3 at least, had been signed" in writer.warning
    (cut,) = [each for each in records(tmp_path) if each["kind"] == "cut"]
    assert (cut["after"], cut["signed"]) == (2, 3)
    result = verify_main.verify(folder_of(tmp_path))
    assert result.bad is not None
    assert (result.bad.n, "the records 3 to 3 at least had been signed" in result.bad.what) == (3, True)
    assert str(cut["file"]) in result.bad.what


async def test_a_crash_is_no_change(tmp_path: Path) -> None:
    written(tmp_path, 60)
    path = files(tmp_path)[0]
    whole = lines(tmp_path)
    path.write_bytes(b"".join(whole[:-2]) + whole[-2][:30])
    with ledger(tmp_path) as writer:
        assert writer.warning == ""
    result = verify_main.verify(folder_of(tmp_path))
    assert result.good, result.bad
    assert "A crash leaves that." in result.notes[0]
