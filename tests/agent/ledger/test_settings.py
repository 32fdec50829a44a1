"""The ``[ledger]`` table."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from penstock_agent.ledger.settings import LedgerSettings


@pytest.mark.parametrize(
    ("text", "size"), [("4 GiB", 4 << 30), ("256MiB", 256 << 20), ("1 TiB", 1 << 40), ("500 MiB", 500 << 20)]
)
def test_sizes_have_units(text: str, size: int) -> None:
    assert LedgerSettings(max_size=text).size == size


@pytest.mark.parametrize("text", ["4", "4 GB", "-1 GiB", "lots", "4  GiB", "100 MiB", "0 TiB"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="should be"):
        LedgerSettings(max_size=text)


def test_what_is_not_said_is_group_commit_400_days_and_4_gib() -> None:
    settings = LedgerSettings()
    assert (settings.sync, settings.keep_days, settings.size) == ("group", 400, 4 << 30)
