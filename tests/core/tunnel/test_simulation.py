"""Random lives of a whole tunnel. See `simulation` for what is promised.

PENSTOCK_SIM_RUNS sets how many (20,000 unless told). A failure names the seed: `life(seed).run()`.
"""

import os
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.core.tunnel.plans import Plan
from tests.core.tunnel.simulation import World, live
from tests.harness import wire

RUNS = int(os.environ.get("PENSTOCK_SIM_RUNS", "20000"))
PARTS = 10
MUST_MEET = {
    "HeadArrived",
    "DataArrived",
    "Answered",
    "answered",
    "not executed",
    "unknown",
    "revoked",
    "not started: cut",
    "not started: BUSY",
    "not started: UNKNOWN",
    "not started: STALE",
    "unknown: no link",
    "unknown: FAILED",
    "unknown: FORGOTTEN",
}


@pytest.mark.timeout(max(120, RUNS // 50))
@pytest.mark.parametrize("part", range(PARTS))
def test_every_promise_holds_in_random_lives(part: int) -> None:
    lives = max(1, RUNS // PARTS)
    live(part * lives, lives)


def test_the_random_lives_met_every_way_in_which_a_call_can_end() -> None:
    assert set(live(0, 3000)) >= MUST_MEET


plans = st.builds(
    Plan,
    calls=st.integers(1, 4),
    agents=st.integers(1, 2),
    links=st.integers(1, 3),
    forwarder=st.booleans(),
    cuts=st.integers(0, 4),
    agent_crashes=st.integers(0, 2),
    origin_crashes=st.integers(0, 2),
    leavers=st.integers(0, 2),
    revocations=st.integers(0, 2),
    failures=st.integers(0, 2),
    grace_passes=st.booleans(),
    max_exchanges=st.sampled_from((1, 2, 1024)),
    attempts=st.integers(1, 3),
    steps=st.integers(0, 200),
    late=st.sampled_from((wire.LEFT, wire.RIGHT)),
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plans, st.integers(0, 2**32))
def test_every_promise_holds_in_any_plan(plan: Plan, seed: int) -> None:
    World(seed, plan).run()


def test_a_life_without_trouble_answers_every_call() -> None:
    for seed in range(100):
        plan = Plan(calls=4, agents=2, cuts=0, steps=random.Random(seed).randrange(60), all_answered=True)
        World(seed, plan).run()
