from __future__ import annotations

from penstock_agent.remote.parts import Parts


def test_parts_of_all_responses_together_are_bounded() -> None:
    parts = Parts(10)
    assert parts.change(0, 6)
    assert parts.change(0, 4)
    assert not parts.change(4, 5)
    assert parts.held == 10
    assert parts.change(6, 0)
    assert parts.change(4, 9)
    assert parts.held == 9
