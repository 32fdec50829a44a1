from __future__ import annotations

from datetime import UTC, datetime

from penstock.principal import Principal
from penstock_agent.gate.policy.suggest import Proposal, suggest
from penstock_agent.ledger.entries import Decision, Verdict

ALICE = Principal("i", "alice", email="alice@example.com", client="claude")
BOB = Principal("i", "bob", client="claude")
CAROL = Principal("i", "carol", client="https://x/?*")


def used(
    who: Principal,
    item: str,
    day: int = 1,
    verdict: Verdict = Verdict.ALLOWED,
    server: str = "files",
    of: str = "",
) -> tuple[datetime, Decision]:
    at = datetime(2026, 11, day, 12, tzinfo=UTC)
    return at, Decision("", server, who, "", verdict, "expose", item=item, of=of)


def test_people_who_use_the_same_get_one_rule_for_just_that() -> None:
    found = suggest(
        [
            *(used(who, "tool:read", day) for who in (ALICE, BOB) for day in (1, 1, 1, 2)),
            used(ALICE, "prompt:sum"),
            used(BOB, "prompt:sum"),
            *[used(CAROL, "resource:file:///a", 3)] * 40,
        ]
    )
    assert found.rules == {
        "files": [
            Proposal(
                "suggested 1", ["alice@example.com", "bob"], ["claude"], ["prompt:sum", "tool:read"], 10
            ),
            Proposal("suggested 2", ["carol"], [], ["resource:file:///a"], 80),
        ]
    }
    assert found.decisions == 50


def test_what_was_denied_or_names_nothing_is_not_proposed() -> None:
    refused = [used(ALICE, "tool:x", verdict=each) for each in Verdict if each is not Verdict.ALLOWED]
    assert suggest([*refused, used(ALICE, "")]).rules == {}


def test_what_was_used_through_the_whole_site_is_its_servers() -> None:
    found = suggest(
        [
            used(ALICE, "tool:read", server="", of="files"),
            used(ALICE, "tool:files__long_abcdefghij", server="", of="files"),
            used(ALICE, "tool:penstock_status", server=""),
        ]
    )
    assert {server: [one.allow for one in rules] for server, rules in found.rules.items()} == {
        "files": [["tool:read"]]
    }
    assert found.left_out == ["tool:files__long_abcdefghij"]


def test_a_name_with_a_wildcard_cannot_be_named_alone() -> None:
    found = suggest([used(ALICE, "tool:a*"), used(ALICE, "resource:x:?a"), used(ALICE, "resource:x:*")])
    assert found.left_out == ["resource:x:*", "tool:a*"]
    assert found.rules["files"][0].allow == ["resource:x:?a"]
