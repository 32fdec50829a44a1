"""The ledger towards the relay, which keeps its newest head."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from penstock.ledgerhead import LedgerHead
from penstock_agent.ledger import key as keys
from penstock_agent.ledger import verify_main
from penstock_agent.ledger.heads import Heads
from penstock_agent.ledger.segments import FOLLOWS, KEPT
from penstock_agent.ledger.writer import Writer
from tests.agent.ledger.book import AGENT, Clock, decision, kinds, ledger, records


async def signed(writer: Writer, count: int = 1) -> LedgerHead:
    """The head that the relay is told after some more records."""
    for number in range(count):
        writer.record(decision(number))
    writer.sign()
    await writer.synced()
    head = writer.current()
    assert head is not None
    return head


def events(state: Path) -> list[object]:
    return [each["what"] for each in records(state) if each["kind"] == "event"]


async def returned(heads: Heads, head: LedgerHead) -> None:
    heads.returned(head)
    await heads.tick()


async def test_what_the_relay_gives_back_is_kept_for_the_verifier(tmp_path: Path) -> None:
    with ledger(tmp_path) as writer:
        heads = Heads(writer, tmp_path, AGENT)
        assert heads.current() is None
        older, newer = await signed(writer), await signed(writer)
        assert heads.current() == newer
        await returned(heads, newer)
        await returned(heads, older)
        [kept] = verify_main.read_heads(tmp_path / KEPT)
        assert (kept.n, kept.hash, kept.key) == (newer.n, newer.hash, writer.key)
        assert verify_main.check_signature(kept.key, kept.signature, kept.signed)
        assert (tmp_path / KEPT).stat().st_mode & 0o777 == 0o600
        assert writer.warning == ""
    assert events(tmp_path) == []


async def test_a_ledger_that_goes_on_from_it_after_a_restart_is_good(tmp_path: Path) -> None:
    with ledger(tmp_path) as writer:
        head = await signed(writer)
    with ledger(tmp_path) as writer:
        heads = Heads(writer, tmp_path, AGENT)
        await returned(heads, head)
        assert writer.warning == ""


async def test_an_older_copy_that_was_put_back_is_noticed_once(tmp_path: Path) -> None:
    with ledger(tmp_path) as writer:
        await signed(writer)
    shutil.copytree(tmp_path, tmp_path / "copy")
    with ledger(tmp_path) as writer:
        head = await signed(writer, 5)
    with ledger(tmp_path / "copy") as writer:
        heads = Heads(writer, tmp_path / "copy", AGENT)
        for _ in range(3):
            await returned(heads, head)
        assert "cut short, or an older copy" in writer.warning
        assert writer.status().warning == writer.warning
    assert events(tmp_path / "copy") == ["ledger_is_behind"]
    assert not verify_main.verify(
        tmp_path / "copy" / "ledger", verify_main.read_heads(tmp_path / "copy" / KEPT)
    ).good


async def test_a_ledger_that_was_written_anew_is_noticed(tmp_path: Path) -> None:
    with ledger(tmp_path) as writer:
        head = await signed(writer, 3)
    (tmp_path / "again").mkdir()
    shutil.copy(tmp_path / keys.FILE, tmp_path / "again")
    (tmp_path / "again" / "ledger").mkdir()
    with ledger(tmp_path / "again", clock=Clock(1.0)) as writer:
        await signed(writer, 9)
        heads = Heads(writer, tmp_path / "again", AGENT)
        await returned(heads, head)
        assert "written anew" in writer.warning
    assert events(tmp_path / "again") == ["ledger_differs"]


async def test_an_agent_that_replaces_another_says_once_which_ledger_it_follows(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with ledger(tmp_path / "old") as writer:
        old = await signed(writer)
    for _ in range(2):
        with ledger(tmp_path) as writer:
            heads = Heads(writer, tmp_path, AGENT)
            await returned(heads, old)
            await returned(heads, old)
    follows = [each for each in records(tmp_path) if each["kind"] == "follows"]
    assert [(each["of"], each["hash"]) for each in follows] == [(old.n, old.hash.hex())]
    assert json.loads((tmp_path / FOLLOWS).read_bytes())["n"] == old.n
    assert kinds(tmp_path).count("event") == 0
