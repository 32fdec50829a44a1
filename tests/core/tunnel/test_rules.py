"""Each rule of an exchange, in the shortest conversation that needs it."""

import pytest

from tests.core.tunnel.schedules import SCHEDULES


@pytest.mark.parametrize("name", SCHEDULES)
def test_rule(name: str) -> None:
    SCHEDULES[name]()
