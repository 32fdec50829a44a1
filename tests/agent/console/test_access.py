"""Who may use the console: the one-time link, one session, our own pages only."""

from __future__ import annotations

import itertools

import pytest

from penstock_agent.console.access import IDLE_S, LINK_S, Door, foreign, led_here, sealed


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def door_of() -> tuple[Door, Clock]:
    clock, numbers = Clock(), itertools.count(1)
    return Door(clock, lambda: f"secret-{next(numbers)}"), clock


def test_a_link_works_once() -> None:
    door, _ = door_of()
    code = door.link()
    assert door.enter(code) is not None
    assert door.enter(code) is None


def test_a_link_works_for_two_minutes() -> None:
    door, clock = door_of()
    code = door.link()
    clock.now += LINK_S
    assert door.enter(code) is None


@pytest.mark.parametrize("code", ["", "secret-2", "SECRET-1", "secret-1 ", "\ud800", "ü"])
def test_another_code_is_nothing(code: str) -> None:
    door, _ = door_of()
    assert door.enter(code) is None
    door.link()
    assert door.enter(code) is None


def test_a_new_link_ends_the_one_before_and_entering_ends_the_session_before() -> None:
    door, _ = door_of()
    first = door.link()
    second = door.link()
    assert door.enter(first) is None
    one = door.enter(second)
    assert one is not None
    assert door.session(one.place, one.cookie) is one
    other = door.enter(door.link())
    assert other is not None
    assert door.session(one.place, one.cookie) is None
    assert door.session(other.place, other.cookie) is other


def test_a_session_takes_both_its_path_and_its_cookie() -> None:
    door, _ = door_of()
    assert door.session("", "") is None
    one = door.enter(door.link())
    assert one is not None
    assert len({one.place, one.cookie, one.seal}) == 3
    assert door.session(one.place, "") is None
    assert door.session("", one.cookie) is None
    assert door.session(one.cookie, one.place) is None
    assert sealed(one, one.seal)
    assert not sealed(one, "")


def test_it_ends_when_nobody_does_anything_or_somebody_ends_it() -> None:
    door, clock = door_of()
    clock.now += IDLE_S - 1
    assert not door.over
    door.used()
    clock.now += IDLE_S - 1
    assert not door.over
    clock.now += 1
    assert door.over
    door, _ = door_of()
    door.closed = True
    assert door.over


@pytest.mark.parametrize(
    ("site", "passes"),
    [("", True), ("none", True), ("same-origin", True), ("same-site", False), ("cross-site", False)],
)
def test_a_page_of_another_port_of_this_machine_leads_nowhere(site: str, passes: bool) -> None:
    assert (led_here(site) == "") is passes


OURS = "127.0.0.1:4711"


@pytest.mark.parametrize(
    ("method", "host", "origin", "passes"),
    [
        ("GET", OURS, "", True),
        ("POST", OURS, f"http://{OURS}", True),
        ("GET", "localhost:4711", "", False),
        ("GET", "evil.example:4711", "", False),
        ("GET", "127.0.0.1", "", False),
        ("GET", "", "", False),
        ("POST", OURS, "", False),
        ("POST", OURS, "null", False),
        ("POST", OURS, "http://127.0.0.1:4712", False),
        ("POST", OURS, "https://127.0.0.1:4711", False),
        ("POST", "evil.example:4711", "http://evil.example:4711", False),
    ],
)
def test_only_our_own_host_and_pages(method: str, host: str, origin: str, passes: bool) -> None:
    assert (foreign(method, host, origin, OURS) == "") is passes
