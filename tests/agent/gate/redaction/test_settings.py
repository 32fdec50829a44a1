"""The tables that an administrator writes."""

from __future__ import annotations

import re
import sys

import pytest
from pydantic import ValidationError

from penstock_agent.gate.expose import Item
from penstock_agent.gate.redaction.rules import Action
from penstock_agent.gate.redaction.settings import RedactSettings, rules


def test_a_table_is_a_rule() -> None:
    table = RedactSettings.model_validate(
        {
            "tools": ["read_*", "prompt:*"],
            "find": ["card", "email"],
            "patterns": {"employee": r"EMP-\d+"},
            "fields": ["/customer/phone"],
            "action": "block",
        }
    )
    made = rules((table, RedactSettings.model_validate({"find": ["token"]})))
    assert made is not None
    plan = made.plan(Item.TOOL, "read_file")
    assert plan is not None
    assert plan.actions == {
        "card": Action.BLOCK, "email": Action.BLOCK, "employee": Action.BLOCK, "token": Action.MASK,
    }  # fmt: skip
    assert table.in_words() == (
        r"block: card, email, employee /EMP-\d+/, /customer/phone   (in read_*, prompt:*)"
    )
    assert RedactSettings(find=("card",)).in_words() == "mask: card   (in everything)"


def test_no_tables_are_no_rules() -> None:
    assert rules(()) is None


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, r'looks for nothing; write find = \["private_key"'),
        ({"find": ["cards"]}, "Known here: private_key, token, card, iban, email"),
        ({"find": ["card"], "tools": []}, "leave tools out"),
        ({"find": ["card"], "tools": ["what:x"]}, "starts with no known kind"),
        ({"find": ["card"], "action": "hide"}, "'mask', 'block' or 'ask'"),
        ({"patterns": {"Name!": "x"}}, "no name for a pattern"),
        ({"patterns": {"card": "x"}}, "has a meaning already"),
        ({"patterns": {"field": "x"}}, "has a meaning already"),
        ({"patterns": {"own": "("}}, "own: is no regular expression of RE2"),
        ({"fields": ["phone"]}, "is no JSON pointer"),
        ({"find": ["card"], "mode": "x"}, "Extra inputs"),
    ],
)
def test_what_means_nothing_is_refused_in_words(table: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        RedactSettings.model_validate(table)


def test_a_pattern_without_its_engine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(ValidationError, match=re.escape("pip install 'penstock[patterns]'")):
        RedactSettings.model_validate({"patterns": {"own": "x"}})
    assert RedactSettings.model_validate({"find": ["card"]}).find == ("card",)
