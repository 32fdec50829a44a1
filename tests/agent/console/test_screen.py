"""One screen of a terminal: all that matters in 80 by 24, and nothing that a terminal obeys."""

from __future__ import annotations

import io

import msgspec
from rich.console import Console

from penstock_agent.console.facts import Decided, Facts
from penstock_agent.console.screen import screen
from penstock_agent.control import Approval, Call, ServerStatus, Status
from penstock_agent.gate.pause import Entry, Kind
from penstock_agent.ledger.entries import LedgerStatus

STATUS = Status(
    "1",
    1,
    "plant",
    "one",
    "wss://relay",
    True,
    9000.0,
    "https://relay.example",
    children=2,
    max_children=64,
    servers=[ServerStatus(f"server{n}", 1, 0, ["*"], "landlock", "none") for n in range(9)],
    ledger=LedgerStatus(records=7, synced=5, bytes=2048),
)
CALL = Call("k1", 9950.0, "running", "Alice", "a@x", "alice", "c1", "server1", "tool:read", 2048)
ASKED = Approval("r1", "waiting", "Bob", "", "bob", "c", "server2", "tool:w", '{"a":1}', "d", "r", 1.0, 2.0)
DECIDED = Decided(9, "2026-11-28T10:00:00Z", "Alice", "c1", "server1", "tool:read", "denied", "expose")
FACTS = Facts(10_000.0, "", STATUS, [CALL] * 9, 0, [ASKED], [DECIDED] * 50)
HOSTILE = "\x1b[2J\x1b]0;title\x07[bold red]\u202egnp.exe" + "x" * 10_000


def lines(facts: Facts, height: int | None = None, width: int = 80) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False, force_terminal=False).print(screen(facts, height))
    return out.getvalue().splitlines()


def test_everything_has_its_place_on_80_by_24() -> None:
    shown = lines(FACTS, 24)
    assert len(shown) <= 24
    assert max(map(len, shown)) <= 80
    text = "\n".join(shown)
    for part in (
        "one of the site plant", "up for 16 min", "2 not yet on the disk", "Servers (9)", "Now (9)", "50 s",
        "2.0 KiB", "r1", "Decided (50)", "denied",
    ):  # fmt: skip
        assert part in text, part


def test_on_a_tall_screen_there_is_more() -> None:
    assert "\n".join(lines(FACTS, 100)).count("denied") > 20
    assert "\n".join(lines(FACTS)).count("denied") == 50


def test_what_is_wrong_is_told_first() -> None:
    status = msgspec.structs.replace(
        STATUS,
        linked=False,
        problem="the relay hung up",
        ledger=LedgerStatus(problem="No space left"),
        paused=[Entry(Kind.SERVER, "server1")],
        withheld={"server2": ["tool:x"]},
        not_read={"server3": "broken"},
    )
    text = "\n".join(lines(Facts(10_000.0, "", status, ledger_problem="There is no ledger."), 24))
    for part in (
        "DOWN for 16 min: the relay hung up", "CANNOT BE WRITTEN: No space left",
        "PAUSED   the server server1",
        "WITHHELD 1 of server2: tool:x", "WITHHELD all of server3", "There is no ledger.",
    ):  # fmt: skip
        assert part in text, part


def test_without_an_agent_there_is_a_sentence_and_what_was_decided() -> None:
    text = "\n".join(lines(Facts(1.0, "The agent does not run.", decisions=[DECIDED])))
    assert "The agent does not run." in text
    assert "denied" in text


def test_what_prints_and_does_not_show_is_told_by_its_number() -> None:
    call = msgspec.structs.replace(CALL, name="Ali\u3164ce")
    assert "Ali<U+3164>ce" in "\n".join(lines(Facts(10_000.0, "", STATUS, [call])))


def test_names_are_neither_markup_nor_obeyed_by_the_terminal() -> None:
    call = Call("k", 1.0, "running", HOSTILE, HOSTILE, HOSTILE, HOSTILE, "s", HOSTILE, 0)
    asked = msgspec.structs.replace(ASKED, name=HOSTILE, item=HOSTILE, arguments=HOSTILE)
    decided = Decided(1, HOSTILE, HOSTILE, HOSTILE, HOSTILE[:9], HOSTILE, HOSTILE, HOSTILE)
    status = msgspec.structs.replace(STATUS, problem=HOSTILE, linked=False, withheld={"s": [HOSTILE]})
    facts = Facts(2.0, "", status, [call], 0, [asked], [decided], HOSTILE)
    for width in (80, 400):
        text = "\n".join(lines(facts, None, width))
        assert all(each.isprintable() or each == "\n" for each in text)
        assert "[bold red]" in text or width == 80
        assert max(map(len, lines(facts, 24, width))) <= width
