"""The key of the ledger, and what it signs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from penstock.ledgerhead import verify
from penstock_agent.ledger import key as keys
from penstock_agent.problem import Problem


def test_it_is_made_once_and_for_nobody_else_to_read(tmp_path: Path) -> None:
    first = keys.load(tmp_path, make=True)
    assert keys.load(tmp_path, make=True).public == first.public
    assert (tmp_path / keys.FILE).stat().st_mode & 0o777 == 0o600


def test_one_that_is_missing_is_not_replaced_where_a_ledger_was_signed_with_it(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="Restore it from a backup"):
        keys.load(tmp_path, make=False)


def test_one_that_others_can_read_is_refused(tmp_path: Path) -> None:
    keys.load(tmp_path, make=True)
    (tmp_path / keys.FILE).chmod(0o644)
    with pytest.raises(Problem, match="chmod 600"):
        keys.load(tmp_path, make=True)


@pytest.mark.parametrize("data", [b"", b"x" * 31, b"-----BEGIN PRIVATE KEY-----"])
def test_what_is_no_key_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / keys.FILE).write_bytes(data)
    (tmp_path / keys.FILE).chmod(0o600)
    with pytest.raises(Problem, match="not a key"):
        keys.load(tmp_path, make=True)


def test_a_head_is_good_and_no_other_is(tmp_path: Path) -> None:
    head = keys.load(tmp_path, make=True).sign(7, b"h" * 32, 1_790_000_000.25)
    assert verify(head)
    assert head.at_ms == 1_790_000_000_250
    assert not verify(replace(head, n=8))


def test_what_is_no_signature_is_none(tmp_path: Path) -> None:
    key = keys.load(tmp_path, make=True).public
    assert not keys.checks(key, bytes(64), b"")
    assert not keys.checks(b"", b"", b"")
