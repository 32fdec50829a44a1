"""A task belongs to whoever began it, and to others it is one that never was."""

from __future__ import annotations

import json

import pytest

from penstock.envelope import Message, request
from penstock_agent.endpoint.modern.tasks import METHODS, Tasks

ALICE, BOB = ("i", "alice", "c"), ("i", "bob", "c")
TASK = b'{"resultType":"task","taskId":"t","status":"working"}'


def tasks(most: int = 10) -> Tasks:
    return Tasks(lambda: "nobodys", most)


def asked(method: str, **params: object) -> Message:
    return request(b"1", method, json.dumps(params).encode())


def task_of(message: Message) -> object:
    found = json.loads(message.params or b"{}")
    return found.get("taskId")


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_task_is_reached_by_whom_it_was_given_to_and_at_that_server(method: str) -> None:
    known = tasks()
    known.began("files", ALICE, TASK)
    message = asked(method, taskId="t", other=[1.0])
    assert known.own("files", ALICE, message) is message
    assert task_of(known.own("files", BOB, message)) == "nobodys"
    assert task_of(known.own("other", ALICE, message)) == "nobodys"
    foreign, never = (known.own("files", BOB, asked(method, taskId=id)) for id in ("t", "u"))
    assert foreign == never


@pytest.mark.parametrize(
    "result",
    [
        None,
        b"{}",
        b'{"resultType":"complete","taskId":"t"}',
        b'{"resultType":"task"}',
        b'{"resultType":"task","taskId":1}',
        b'{"x":"task","taskId":"t"}',
    ],
)
def test_other_results_give_nobody_a_task(result: bytes | None) -> None:
    known = tasks()
    known.began("files", ALICE, result)
    assert task_of(known.own("files", ALICE, asked("tasks/get", taskId="t"))) == "nobodys"


def test_a_task_that_is_given_again_stays_whose_it_was() -> None:
    known = tasks()
    known.began("files", ALICE, TASK)
    known.began("files", BOB, TASK)
    assert task_of(known.own("files", BOB, asked("tasks/get", taskId="t"))) == "nobodys"


def test_the_oldest_are_forgotten() -> None:
    known = tasks(most=2)
    for id in ("a", "b", "c"):
        known.began("files", ALICE, TASK.replace(b'"t"', b'"%b"' % id.encode()))
    reached = [task_of(known.own("files", ALICE, asked("tasks/get", taskId=id))) for id in ("a", "b", "c")]
    assert reached == ["nobodys", "b", "c"]


def test_a_subscription_is_to_tasks_of_ones_own() -> None:
    known = tasks()
    known.began("files", ALICE, TASK)
    wanted = asked("subscriptions/listen", notifications={"taskIds": ["t", "u"], "toolsListChanged": True})
    for identity, ids in ((ALICE, ["t"]), (BOB, [])):
        params = json.loads(known.own("files", identity, wanted).params or b"")
        assert params == {"notifications": {"taskIds": ids, "toolsListChanged": True}}


def test_all_else_passes_as_it_is() -> None:
    for message in (asked("tools/call", taskId="t"), asked("tasks/get"), request(b"1", "tasks/get", None)):
        assert tasks().own("files", ALICE, message) is message
