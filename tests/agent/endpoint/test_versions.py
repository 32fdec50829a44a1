"""Eras and the version header."""

from __future__ import annotations

import pytest

from penstock_agent.endpoint.versions import HANDSHAKE, SERVED, SUPPORTED, is_handshake


@pytest.mark.parametrize("header", [None, *HANDSHAKE])
def test_no_header_or_a_handshake_version_belongs_to_the_handshake_era(header: str | None) -> None:
    assert is_handshake(header)


@pytest.mark.parametrize("header", ["2026-07-28", "2025-11-26", "", "2025-11-25 ", "DRAFT"])
def test_everything_else_is_another_era(header: str) -> None:
    assert not is_handshake(header)


def test_what_is_supported_is_of_this_era() -> None:
    assert set(SUPPORTED) <= set(HANDSHAKE)


def test_all_of_both_eras_is_served_the_newest_first() -> None:
    assert SERVED == ("2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26")
