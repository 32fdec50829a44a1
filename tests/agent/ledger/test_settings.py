"""The ``[ledger]`` table."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from penstock_agent.ledger.settings import LedgerSettings


def test_a_size_may_have_a_unit() -> None:
    assert LedgerSettings.model_validate({"max_size": "1 TiB"}).max_size == 1 << 40
    assert LedgerSettings.model_validate({"max_size": 1 << 30}).max_size == 1 << 30


@pytest.mark.parametrize(
    ("size", "words"),
    [("100 MiB", "at least 256.0 MiB"), (4, "at least"), ("lots", "is no size"), (True, "int")],
)
def test_other_sizes_are_refused(size: object, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        LedgerSettings.model_validate({"max_size": size})


def test_what_is_not_said_is_group_commit_400_days_and_4_gib() -> None:
    settings = LedgerSettings()
    assert (settings.sync, settings.keep_days, settings.max_size) == ("group", 400, 4 << 30)
