"""A session that wants to hear of things, and a server that takes one request for all of them."""

from __future__ import annotations

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from penstock_agent.endpoint.bridge.up.out import Out
from penstock_agent.endpoint.bridge.up.subscription import MOST_URIS, Subscription


def subscription(**capabilities: object) -> Subscription:
    numbers = itertools.count(1)
    return Subscription(json.dumps(capabilities).encode(), lambda: b'"s%d"' % next(numbers), lambda m: m)


def asked(out: Out) -> list[tuple[str, object]]:
    """What the server hears: a subscription and what for, or the end of one."""
    found: list[tuple[str, object]] = []
    for message in out.server:
        params = json.loads(message.params or b"")
        if message.id is None:
            found.append(("end", params["requestId"]))
        else:
            found.append((json.loads(message.id), params["notifications"]))
    return found


def taking(*uris: str) -> bytes:
    return json.dumps({"notifications": {"resourceSubscriptions": uris}}).encode()


def answers(out: Out) -> list[tuple[int, bool]]:
    found = [json.loads(line) for line in out.client]
    return [(each["id"], "result" in each) for each in found]


def test_a_server_that_tells_of_nothing_is_not_asked() -> None:
    assert subscription(tools={}).begin() == Out()


def test_a_server_is_asked_for_what_it_says_that_it_tells() -> None:
    one = subscription(
        tools={"listChanged": True}, prompts={"listChanged": True}, resources={"listChanged": 1}
    )
    assert asked(one.begin()) == [("s1", {"toolsListChanged": True, "promptsListChanged": True})]


def test_wishes_that_come_while_one_is_being_asked_for_are_asked_for_together() -> None:
    one = subscription()
    assert asked(one.subscribe(b"1", "a")) == [("s1", {"resourceSubscriptions": ["a"]})]
    assert asked(one.subscribe(b"2", "b")) == []
    assert asked(one.subscribe(b"3", "c")) == []
    out = one.acknowledged(b'"s1"', taking("a"))
    assert asked(out) == [("s2", {"resourceSubscriptions": ["a", "b", "c"]})]
    assert answers(out) == [(1, True)]
    out = one.acknowledged(b'"s2"', taking("a", "c"))
    assert asked(out) == [("end", "s1")]
    assert answers(out) == [(2, False), (3, True)]


def test_a_wish_that_is_fulfilled_already_is_answered_at_once() -> None:
    one = subscription()
    one.subscribe(b"1", "a")
    one.acknowledged(b'"s1"', taking("a"))
    assert answers(one.subscribe(b"2", "a")) == [(2, True)]


def test_the_last_wish_that_is_taken_back_ends_it_all() -> None:
    one = subscription()
    one.subscribe(b"1", "a")
    one.acknowledged(b'"s1"', taking("a"))
    assert asked(one.unsubscribe(b"2", "a")) == [("end", "s1")]
    assert not one.hears(b'"s1"')


def test_a_server_that_refuses_or_ends_it_is_asked_again_only_for_a_new_wish() -> None:
    one = subscription()
    one.subscribe(b"1", "a")
    assert answers(one.ended(b'"s1"')) == [(1, False)]
    assert asked(one.subscribe(b"2", "b")) == [("s2", {"resourceSubscriptions": ["b"]})]
    one.acknowledged(b'"s2"', taking("b"))
    assert one.ended(b'"s2"') == Out()
    assert not one.hears(b'"s2"')


def test_there_is_an_end_to_wishes() -> None:
    one = subscription()
    for number in range(MOST_URIS):
        one.subscribe(b"%d" % number, f"a://{number}")
    assert answers(one.subscribe(b"9999", "b://")) == [(9999, False)]


@given(st.lists(st.tuples(st.sampled_from(["on", "off", "ack", "no", "end"]), st.sampled_from("abc"))))
def test_every_wish_is_answered_once_and_at_most_one_subscription_is_heard(
    acts: list[tuple[str, str]],
) -> None:
    one = subscription(tools={"listChanged": True})
    opened: dict[bytes, list[str]] = {}
    told: list[tuple[int, bool]] = []
    wishes = 0

    def took(out: Out) -> None:
        told.extend(answers(out))
        for message in out.server:
            if message.id is not None:
                wanted = json.loads(message.params or b"")["notifications"]
                opened[message.id] = wanted.get("resourceSubscriptions", [])

    took(one.begin())
    for act, uri in acts:
        newest = list(opened)[-1] if opened else b"none"
        if act in ("on", "off"):
            wishes += 1
            took((one.subscribe if act == "on" else one.unsubscribe)(b"%d" % wishes, uri))
        elif act == "end":
            took(one.ended(newest))
        else:
            took(one.acknowledged(newest, taking(*opened.get(newest, [])) if act == "ack" else taking()))
        assert sum(one.hears(id) for id in opened) <= 1
    for _ in range(wishes + 1):
        newest = list(opened)[-1]
        took(one.acknowledged(newest, taking(*opened[newest])))
    assert sorted(id for id, _ in told) == list(range(1, wishes + 1))
