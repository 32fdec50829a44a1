from __future__ import annotations

from pathlib import Path

import pytest

from penstock_agent import config
from penstock_agent.capture import sealed
from penstock_agent.capture.settings import CaptureSettings
from penstock_agent.config import Options
from penstock_agent.settings_file import ConfigError

PRIVATE, PUBLIC = sealed.generate()


def parse(text: str) -> CaptureSettings | None:
    return config.parse(text, Path("/etc/agent.toml"), Options(), {}).capture


def test_nothing_is_captured_without_the_table_and_the_rest_has_defaults() -> None:
    assert parse("") is None
    found = parse(f'[capture]\nrecipient = "{PUBLIC}"\nmax_size = "1 GiB"\n')
    assert found == CaptureSettings(recipient=PUBLIC, keep_days=14, max_size=1 << 30)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "capture.recipient: missing"),
        (f'recipient = "{PRIVATE}"', "capture.recipient: is the private key"),
        ('recipient = "me"', "capture.recipient: is no key of captured payload"),
        (f'recipient = "{PUBLIC}"\nmax_size = 1', "capture.max_size: should be at least 512.0 MiB"),
        (f'recipient = "{PUBLIC}"\nkeep_days = 0', "capture.keep_days: should be greater than or equal to 1"),
        (f'recipient = "{PUBLIC}"\nkeep = 1', "Known here: recipient, keep_days, max_size."),
    ],
    ids=["no recipient", "private", "no key", "max_size", "keep_days", "unknown"],
)
def test_what_cannot_be_meant_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(f"[capture]\n{text}\n")
    assert words in str(refused.value)
    assert PRIVATE[-40:] not in str(refused.value)
