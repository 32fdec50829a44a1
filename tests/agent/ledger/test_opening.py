"""A ledger is opened after whatever ended the run before."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.names import AgentId
from penstock_agent.ledger import key as keys
from penstock_agent.ledger.opening import open_ledger
from penstock_agent.ledger.settings import LedgerSettings
from penstock_agent.problem import Problem
from tests.agent.ledger.book import AGENT, ALICE, BOB, Clock, chained, decision, files, kinds, ledger, records


def crash(state: Path, size: int) -> bytes:
    """The last file ends after so many bytes; returns what it held."""
    path = files(state)[-1]
    data = path.read_bytes()
    path.write_bytes(data[:size])
    return data


async def test_the_next_run_goes_on_where_this_one_ended(tmp_path: Path) -> None:
    for who in (ALICE, BOB):
        with ledger(tmp_path) as writer:
            writer.record(decision(who=who))
    assert chained(tmp_path)
    assert kinds(tmp_path) == ["segment", "who", "decision", "head", "who", "decision", "head"]
    assert [each["who"] for each in records(tmp_path) if each["kind"] == "who"] == [1, 2]


async def test_nothing_is_signed_twice(tmp_path: Path) -> None:
    for _ in range(3):
        with ledger(tmp_path):
            pass
    assert kinds(tmp_path) == ["segment", "head"]


async def test_a_crash_at_any_byte_loses_at_most_one_record_and_what_is_cut_off_is_said_and_kept(
    tmp_path: Path,
) -> None:
    with ledger(tmp_path) as writer:
        writer.record(decision())
    path = files(tmp_path)[0]
    whole = path.read_bytes()
    ends = [0] + [i + 1 for i, byte in enumerate(whole) if byte == 10]
    for size in range(1, len(whole) + 1, 7):
        path.write_bytes(whole[:size])
        good = max(end for end in ends if end <= size)
        if good == 0:
            continue
        with ledger(tmp_path):
            pass
        assert chained(tmp_path), size
        assert path.read_bytes().startswith(whole[:good])
        cut = [each for each in records(tmp_path) if each["kind"] == "cut"]
        if good == size:
            assert cut == []
        else:
            assert cut[0]["bytes"] == size - good
            kept = path.with_name(str(cut[0]["file"]))
            assert kept.read_bytes() == whole[good:size]
            kept.unlink()


async def test_a_file_that_a_crash_left_without_its_first_record_is_put_aside(tmp_path: Path) -> None:
    with ledger(tmp_path, segment_bytes=800) as writer:
        for number in range(4):
            writer.record(decision(number))
    last = files(tmp_path)[-1]
    crash(tmp_path, 20)
    with ledger(tmp_path) as writer:
        writer.record(decision())
    assert chained(tmp_path)
    assert len(last.with_suffix(".cut").read_bytes()) == 20
    cut = next(each for each in records(tmp_path) if each["kind"] == "cut")
    assert (cut["file"], cut["bytes"]) == (last.with_suffix(".cut").name, 20)


async def test_a_first_file_without_its_first_record_is_put_aside_too(tmp_path: Path) -> None:
    with ledger(tmp_path):
        pass
    crash(tmp_path, 20)
    with ledger(tmp_path):
        pass
    assert chained(tmp_path)
    assert kinds(tmp_path) == ["segment", "cut", "head"]


async def test_zeros_that_a_loss_of_power_left_are_cut_off(tmp_path: Path) -> None:
    with ledger(tmp_path) as writer:
        writer.record(decision())
    path = files(tmp_path)[0]
    path.write_bytes(path.read_bytes() + bytes(5000) + b"\n" + bytes(10))
    with ledger(tmp_path):
        pass
    assert chained(tmp_path)
    assert [each["bytes"] for each in records(tmp_path) if each["kind"] == "cut"] == [5011]


async def test_another_agent_on_the_folder_begins_a_segment(tmp_path: Path) -> None:
    with ledger(tmp_path):
        pass
    with ledger(tmp_path, agent=AgentId("acme", "two")):
        pass
    assert [each["agent"] for each in records(tmp_path) if each["kind"] == "segment"] == ["one", "two"]
    assert chained(tmp_path)


async def test_two_agents_do_not_write_one_ledger(tmp_path: Path) -> None:
    with ledger(tmp_path), pytest.raises(Problem, match="Another agent already runs here"):
        open_ledger(tmp_path, AGENT, LedgerSettings(), clock=Clock())


async def test_a_ledger_without_its_key_is_not_signed_with_another(tmp_path: Path) -> None:
    with ledger(tmp_path):
        pass
    (tmp_path / keys.FILE).unlink()
    for _ in range(2):  # and the folder is free again
        with pytest.raises(Problem, match="a new ledger begins"):
            open_ledger(tmp_path, AGENT, LedgerSettings())


async def test_a_folder_that_cannot_be_used_says_what_to_look_at(tmp_path: Path) -> None:
    (tmp_path / "ledger").write_text("")
    with pytest.raises(Problem, match="nothing may leave this site"):
        open_ledger(tmp_path, AGENT, LedgerSettings())


async def test_a_file_in_the_middle_that_is_no_segment_is_named(tmp_path: Path) -> None:
    with ledger(tmp_path, segment_bytes=800) as writer:
        for number in range(4):
            writer.record(decision(number))
    files(tmp_path)[0].write_bytes(b"something else\n")
    with pytest.raises(Problem, match=r"00000001\.jsonl is no segment"):
        open_ledger(tmp_path, AGENT, LedgerSettings())
