from __future__ import annotations

import pytest

from penstock_agent.endpoint.meta import severe_enough


@pytest.mark.parametrize(
    ("level", "wanted", "seen"),
    [
        ("info", "info", True),
        ("debug", "info", False),
        ("emergency", "debug", True),
        ("of a later revision", "error", True),
        (None, "error", True),
    ],
)
def test_a_message_is_seen_from_its_level_on(level: str | None, wanted: str, seen: bool) -> None:
    assert severe_enough(level, wanted) is seen
