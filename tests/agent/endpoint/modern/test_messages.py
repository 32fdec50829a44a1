"""Small things about messages."""

from __future__ import annotations

import pytest

from penstock.envelope import Kind, Message, parse_child, request
from penstock_agent.endpoint.modern.messages import end_of_subscription, status_of, with_supported


def error(raw: bytes) -> Message:
    return Message(Kind.ERROR, b"1", None, None, None, raw)


@pytest.mark.parametrize(
    ("raw", "status"),
    [(b'{"code":-32601}', 404), (b'{"code":-32602}', 400), (b'{"code":-32603}', 200), (b"{}", 200)],
)
def test_an_error_has_a_status(raw: bytes, status: int) -> None:
    assert status_of(error(raw)) == status


def test_a_result_is_200() -> None:
    assert status_of(Message(Kind.RESPONSE, b"1", None, None, b'{"code":-32601}', None)) == 200


@pytest.mark.parametrize("id", [b"1", b'"a"', b"1.50"])
def test_a_subscription_ends_under_its_own_id(id: bytes) -> None:
    message = parse_child(end_of_subscription(request(id, "subscriptions/listen", b"{}")))
    assert message.id == id
    meta = b'{"io.modelcontextprotocol/subscriptionId":%b}' % id
    assert message.result == b'{"resultType":"complete","_meta":%b}' % meta


def test_only_versions_that_stand_there_are_replaced() -> None:
    answer = Message(Kind.RESPONSE, b"1", None, None, b'{"a": 1.0,"supportedVersions":["x"]}', None)
    assert with_supported(answer, ("b", "c")).result == b'{"a":1.0,"supportedVersions":["b","c"]}'
    other = Message(Kind.RESPONSE, b"1", None, None, b'{"a": 1}', None)
    assert with_supported(other, ("b",)) is other
    assert with_supported(error(b"{}"), ("b",)) == error(b"{}")
