"""Every rule of the tunnel is needed, and the tests would notice if it went missing.

Each mutation removes one rule from a copy of the package. The schedule beside it must then fail; where
`lives` is not 0, so must random lives of the simulation, within that many.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import penstock
import penstock.tunnel

REPOSITORY = Path(__file__).parents[3]
PACKAGE = Path(next(iter(penstock.tunnel.__path__)))


@dataclass(frozen=True, slots=True)
class Mutation:
    name: str
    file: str
    old: str
    """Occurs exactly once in the file."""
    new: str
    schedule: str
    lives: int = 0


NOTHING = "        pass\n"
MUTATIONS = (
    Mutation(
        "fence", "agent.py",
        "            self._floor[key.boot] = max(self._floor.get(key.boot, 0), key.seq + 1)\n", "",
        "late_open", 1000,
    ),
    Mutation(
        "stale", "agent.py",
        "        if frame.key.seq < self._floor.get(frame.key.boot, 0):\n", "        if False:\n",
        "late_open", 1000,
    ),
    Mutation(
        "prune_boot", "agent.py",
        "        self._links[link.number] = link\n",
        "        self._links[link.number] = link\n"
        "        if not self._held:\n            self._floor.clear()\n",
        "late_open_of_a_dead_origin",
    ),
    Mutation(
        "gone_mark", "agent.py",
        "                self._lost[key.boot] = max(self._lost.get(key.boot, 0), key.seq + 1)\n",
        "        " + NOTHING,
        "forgotten", 2000,
    ),
    Mutation(
        "forgotten", "agent.py",
        "            if key.seq < self._lost.get(key.boot, 0):\n", "            if False:\n",
        "forgotten", 2000,
    ),
    Mutation(
        "att_epoch", "agent.py",
        "        key = frame.key\n        if frame.epoch != self.epoch:\n",
        "        key = frame.key\n        if False:\n",
        "another_life",
    ),
    Mutation(
        "we_att", "states.py",
        "(headed or (attached and reason is EndReason.WRONG_EPOCH))", "headed",
        "another_life",
    ),
    Mutation(
        "open_epoch", "agent.py",
        "        if frame.epoch != self.epoch:\n            return EndReason.WRONG_EPOCH\n", "",
        "open_for_another_life",
    ),
    Mutation(
        "any_epoch", "origin.py",
        "                if path.epoch == exchange.epoch:\n", "                if True:\n",
        "reborn",
    ),
    Mutation(
        "keep_terminal", "agent.py",
        "        exchange.last_word = reason\n",
        "        exchange.last_word = reason\n"
        "        if reason is not EndReason.OK and exchange.link is not None:\n"
        "            exchange.link.control(End(exchange.key, exchange.sending.sent, reason))\n"
        "            del self._held[exchange.key]\n"
        "            return\n",
        "last_word", 2000,
    ),
    Mutation("repeat_head", "agent.py", "        exchange.head_sent = False\n", "", "head_again", 500),
    Mutation("repeat_end", "agent.py", "        exchange.end_said = False\n", "", "end_again", 500),
    Mutation(
        "rewind", "agent.py", "        exchange.sending.rewind(frame.have)\n", "", "data_again", 500
    ),
    Mutation(
        "rewind of the request", "origin.py", "            exchange.sending.rewind(frame.have)\n", "",
        "request_again", 1000,
    ),
    Mutation(
        "attach_credit", "agent.py",
        "        exchange.sending.credit(frame.have, frame.limit)\n        exchange.sending.rewind",
        "        exchange.sending.rewind",
        "credit_with_attach", 2000,
    ),
    Mutation(
        "reply_credit", "agent.py",
        "        link.control(Credit(key, exchange.received, exchange.granted))\n", "",
        "request_again", 1000,
    ),
    Mutation(
        "counter", "agent.py",
        "        if frame.counter <= exchange.counter:\n            return\n", "",
        "counter",
    ),
    Mutation(
        "written", "origin_exchange.py",
        "            self.advance(OriginInput.END_SENT)\n", "    " + NOTHING,
        "handed_over", 100,
    ),
    Mutation(
        "detach_l", "origin.py",
        "            case Lost():\n                self.link_gone(link.number, now)\n",
        "            case Lost():\n        " + NOTHING,
        "lost_link", 1000,
    ),
    Mutation(
        "detach_b", "agent.py",
        "                        self._cut(exchange, now)\n            case _",
        "                        pass\n            case _",
        "lost_boot", 1000,
    ),
    Mutation(
        "offset_check", "credit.py",
        '    return data[have - offset :] if offset < have else b""\n', "    return data\n",
        "overlap", 2000,
    ),
    Mutation(
        "whole frames only", "credit.py",
        '    return data[have - offset :] if offset < have else b""\n', '    return b""\n',
        "overlap",
    ),
    Mutation(
        "send_done", "origin.py",
        "        if exchange.path is not None and reason in LAST_WORDS:\n",
        "        if exchange.path is not None and reason is None:\n",
        "done", 100,
    ),
    Mutation(
        "orphan_timer", "agent.py",
        "        heapq.heappush(self._orphans, (exchange.orphaned_at, exchange.key))\n", "",
        "forgotten", 500,
    ),
    Mutation(
        "unk_safe", "states.py",
        "    EndReason.UNKNOWN: Verdict.NOT_STARTED,\n", "    EndReason.UNKNOWN: Verdict.UNKNOWN,\n",
        "late_open", 500,
    ),
    Mutation(
        "strict while attaching", "states.py",
        "    (_CUT, OriginInput.LINK_FOUND): _ATTACHING,\n",
        "    (_CUT, OriginInput.LINK_FOUND): _WAITING,\n",
        "data_before_head",
    ),
    Mutation(
        "revoked_again", "origin.py",
        "        exchange.to_revoke = exchange.state is OriginState.REVOKING\n", "",
        "revoked_again", 2000,
    ),
    Mutation(
        "revoked_late", "agent.py",
        "            case Data() | End() | Credit() | Done():\n"
        "                exchange = self._held.get(frame.key)\n"
        "                if exchange is not None:\n",
        "            case Data() | End() | Credit() | Done():\n"
        "                exchange = self._held.get(frame.key)\n"
        "                if exchange is not None:\n"
        "                    exchange.link = link\n",
        "revoked_late",
    ),
    Mutation(
        "credit while attaching", "origin.py",
        "        if worth and exchange.path is not None and not exchange.to_attach:\n",
        "        if worth and exchange.path is not None and exchange.state is OriginState.ANSWERING:\n",
        "credit_while_attaching", 2000,
    ),
)  # fmt: skip


def run(mutated: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join((str(mutated), str(REPOSITORY))),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        [sys.executable, "-P", "-m", *argv],
        env=environment, cwd=mutated, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, which the mutations are made in."""
    copy = tmp_path_factory.mktemp("mutated")
    shutil.copytree(PACKAGE, copy / "penstock" / "tunnel", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(Path(penstock.__file__), copy / "penstock" / "__init__.py")
    return copy


def test_what_is_not_mutated_passes(original: Path) -> None:
    played = run(original, "tests.core.tunnel.schedules", *{m.schedule for m in MUTATIONS})
    assert played.returncode == 0, played.stderr
    lived = run(original, "tests.core.tunnel.simulation", "0", "200")
    assert lived.returncode == 0, lived.stderr


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_without_this_rule_a_test_fails(original: Path, mutation: Mutation) -> None:
    file = original / "penstock" / "tunnel" / mutation.file
    source = file.read_text()
    assert source.count(mutation.old) == 1, f"{mutation.file} has changed: update this mutation"
    file.write_text(source.replace(mutation.old, mutation.new))
    try:
        played = run(original, "tests.core.tunnel.schedules", mutation.schedule)
        assert played.returncode == 1, f"the schedule {mutation.schedule} passes without the rule"
        broken = ("AssertionError", "RemoteError", "LocalError")
        assert any(name in played.stderr.splitlines()[-1] for name in broken), played.stderr
        if mutation.lives:
            lived = run(original, "tests.core.tunnel.simulation", "0", str(mutation.lives))
            assert lived.returncode == 1, f"{mutation.lives} lives pass without the rule"
            assert "Broken: seed" in lived.stderr, lived.stderr
    finally:
        file.write_text(source)
