"""Whatever ends a call gives its place back: the exchange's end and the child's, in either order."""

from __future__ import annotations

from penstock.envelope import Kind, Message, request
from penstock.principal import Principal
from penstock_agent.endpoint.permits import Permits
from penstock_agent.gate.expose import Item
from penstock_agent.gate.policy.books import Books, Charge, Over
from penstock_agent.gate.policy.rules import Budget

ALICE = Principal("i", "alice")
ONE = (Charge("files", "r", Item.TOOL, "read", Budget(concurrent=1, max_result=5)),)


def take(permits: Permits, exchange: str, id: bytes = b"1", *, runs: bool = True) -> Over | None:
    return permits.take(exchange, request(id, "tools/call", b"{}"), ALICE, ONE, 60.0, runs=runs)


def made() -> Permits:
    permits = Permits(Books(), lambda: 1000.0)
    for exchange in ("a", "b"):
        permits.begin(exchange)
    return permits


def free(permits: Permits) -> bool:
    found = take(permits, "b") is None
    permits.served("b")
    permits.begin("b")
    return found


def test_a_call_that_was_never_given_ends_with_its_exchange() -> None:
    permits = made()
    assert take(permits, "a") is None
    assert not free(permits)
    permits.served("a")
    assert free(permits)


def test_a_call_that_outlives_its_exchange_ends_in_the_child() -> None:
    permits = made()
    take(permits, "a")
    permit = permits.of("a")
    assert permit is not None
    permit.hold()
    permits.served("a")
    assert not free(permits)
    permit.over()
    assert free(permits)


def test_a_call_that_is_given_a_second_time_still_runs() -> None:
    permits = made()
    take(permits, "a")
    permit = permits.of("a")
    assert permit is not None
    for _ in range(3):  # a child that dies before it has taken it
        permit.hold()
        permit.over()
    assert not free(permits)
    permit.hold()
    permits.served("a")
    permit.over()
    permit.hold()
    assert not free(permits)
    permit.over()
    assert free(permits)


def test_an_answer_gives_the_place_back_before_it_has_been_written() -> None:
    permits = made()
    take(permits, "a")
    answer = Message(Kind.RESPONSE, b"1", None, None, b"12345", None)
    assert (
        permits.answered(permits.of("a"), "files", ALICE, request(b"1", "tools/call", None), answer) is None
    )
    assert free(permits)


def test_the_calls_of_a_batch_are_told_apart_by_their_ids() -> None:
    permits = made()
    wide = (Charge("files", "w", Item.TOOL, "read", Budget(max_result=5)),)
    permits.take("a", request(b"1", "tools/call", None), ALICE, wide, 60.0, runs=True)
    permits.take("a", request(b'"1"', "tools/call", None), ALICE, (), 60.0, runs=True)
    large = Message(Kind.ERROR, b"1", None, None, None, b"123456")
    permit = permits.of("a")
    assert permits.answered(permit, "files", ALICE, request(b"2", "tools/call", None), large) is None
    assert permits.answered(permit, "files", ALICE, request(b'"1"', "tools/call", None), large) is None
    assert permits.answered(permit, "files", ALICE, request(b"1", "tools/call", None), large) is not None


def test_what_waits_for_its_caller_takes_no_place() -> None:
    permits = made()
    take(permits, "a")
    permit = permits.of("a")
    assert permit is not None
    permit.hold()
    permit.rests()
    assert free(permits)
    permit.over()
    assert free(permits)


def test_nothing_is_taken_for_an_exchange_that_is_over() -> None:
    permits = made()
    permits.served("a")
    assert take(permits, "a") is not None
    assert free(permits)
    permits.served("never begun")


def test_what_does_not_run_takes_no_place() -> None:
    permits = made()
    assert take(permits, "a", runs=False) is None
    assert free(permits)


def test_what_a_call_left_behind_as_a_task_is_counted_for_the_call() -> None:
    permits = made()
    for id, result in ((b"1", b'{"taskId":"t","resultType":"task"}'), (b"2", b'{"task":{"taskId":"u"}}')):
        wide = (Charge("files", "w", Item.TOOL, "read", Budget(max_result=40)),)
        asked = request(id, "tools/call", b"{}")
        permits.take("a", asked, ALICE, wide, 60.0, runs=True)
        said = Message(Kind.RESPONSE, id, None, None, result, None)
        assert permits.answered(permits.of("a"), "files", ALICE, asked, said) is None
    large = Message(Kind.RESPONSE, b"3", None, None, b"x" * 41, None)
    for who, server, task, over in (
        (ALICE, "files", "t", True),
        (ALICE, "files", "u", True),
        (ALICE, "files", "v", False),
        (ALICE, "crm", "t", False),
        (Principal("i", "bob"), "files", "t", False),
    ):
        asked = request(b"3", "tasks/result", b'{"taskId":"%b"}' % task.encode())
        assert (permits.answered(None, server, who, asked, large) is not None) is over
