"""How often a code may be tried."""

from __future__ import annotations

from penstock_relay.oauth.factor.tries import DAY_S, MOST, MOST_A_DAY, CodeTries
from penstock_relay.oauth.throttle import WINDOW_S

NOW = 1_800_000_000.0
HERE = "d" * 43


def tried(tries: CodeTries, device: str | None, now: float, user: str = "alice") -> int:
    return sum(tries.begin(user, device, now) for _ in range(100))


def test_a_few_wrong_codes_in_a_quarter_of_an_hour_and_a_few_more_in_a_day() -> None:
    tries = CodeTries()
    windows = [tried(tries, None, NOW + number * WINDOW_S) for number in range(20)]
    assert windows[:4] == [MOST] * 4
    assert sum(windows) == MOST_A_DAY
    assert tried(tries, None, NOW + DAY_S) == MOST


def test_each_user_and_each_device_has_its_own() -> None:
    tries = CodeTries()
    assert tried(tries, None, NOW) == MOST
    assert tried(tries, None, NOW, "bob") == MOST
    assert tried(tries, HERE, NOW) == MOST
    assert tried(tries, "e" * 43, NOW) == MOST


def test_a_good_code_forgets_the_wrong_ones_of_its_device_alone() -> None:
    tries = CodeTries()
    assert tried(tries, None, NOW) == tried(tries, HERE, NOW) == MOST
    tries.succeeded("alice", HERE)
    assert tried(tries, None, NOW) == 0
    assert tried(tries, HERE, NOW) == MOST
    tries.succeeded("alice", None)
    assert tried(tries, None, NOW) == MOST
