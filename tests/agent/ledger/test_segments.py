"""The ledger's folder, as it is found."""

from __future__ import annotations

from pathlib import Path

from penstock_agent.ledger import segments
from tests.agent.ledger.book import AGENT, ALICE, BOB, Clock, decision, files, ledger, lines, records


async def test_segments_are_found_in_order_and_nothing_else_is(tmp_path: Path) -> None:
    with ledger(tmp_path, segment_bytes=500) as writer:
        for number in range(12):
            writer.record(decision(number))
    folder = tmp_path / "ledger"
    for name in ("00000001.cut", "notes.jsonl", "1.jsonl", "00000001.jsonl.bak"):
        (folder / name).touch()
    found = segments.files(folder)
    assert [path.name for _, path in found] == [segments.name(number) for number, _ in found]
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    assert len(found) > 9


async def test_a_segment_is_known_by_its_first_record(tmp_path: Path) -> None:
    clock = Clock()
    with ledger(tmp_path, clock=clock, segment_bytes=500) as writer:
        for number in range(3):
            writer.record(decision(number))
    found = segments.opening(files(tmp_path)[1])
    assert found is not None
    before = files(tmp_path)[0].read_bytes().splitlines()
    assert (found.number, found.first, found.at) == (2, len(before) + 1, clock.now)
    assert found.previous.hex() == records(tmp_path)[len(before) - 1]["h"]
    assert (found.site, found.agent) == (AGENT.site, AGENT.agent)


async def test_the_end_of_a_segment_is_its_last_record_that_fits(tmp_path: Path) -> None:
    with ledger(tmp_path) as writer:
        for who in (ALICE, BOB):
            writer.record(decision(who=who))
    path, written = files(tmp_path)[0], lines(tmp_path)
    opening = segments.opening(path)
    assert opening is not None
    end = segments.end(opening)
    assert (end.n, end.dropped, end.callers, end.last) == (6, 0, 2, "head")
    for bad in (1, 3, 5):  # no line after it fits either
        path.write_bytes(
            b"".join([*written[:bad], written[bad].replace(b"2026", b"2027"), *written[bad + 1 :]])
        )
        end = segments.end(opening)
        assert (end.n, end.size) == (bad, len(b"".join(written[:bad])))
        assert end.size + end.dropped == path.stat().st_size


def test_what_is_no_record_says_nothing(tmp_path: Path) -> None:
    for text in (b"", b"{}\n", b"[]\n", b"\xff\n", b'{"n":1,"at":"x","segment":1}\n'):
        (tmp_path / "x").write_bytes(text)
        assert segments.opening(tmp_path / "x") is None
        assert segments.start_of(text) is None
