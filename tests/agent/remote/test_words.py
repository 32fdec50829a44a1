from __future__ import annotations

import json

import pytest

from penstock_agent.remote import words
from penstock_agent.remote.protocol import Outgoing
from penstock_agent.remote.words import Trouble
from tests.agent.remote.kit import HELLO, call, line, modern

ALL = [found for found in vars(words).values() if isinstance(found, Trouble)]


def test_a_tool_call_gets_a_result_that_a_model_can_read() -> None:
    answer = json.loads(words.BROKE_OFF.answer(Outgoing.of(line(call()))))
    assert answer["id"] == "c1"
    assert answer["result"]["isError"]
    assert "resultType" not in answer["result"]
    assert answer["result"]["_meta"]["penstock/outcome"]["retry_safe"] is False


def test_a_modern_one_says_of_what_kind_it_is() -> None:
    answer = json.loads(words.SESSION_LOST.answer(Outgoing.of(line(modern()))))
    assert answer["result"]["resultType"] == "complete"
    assert answer["result"]["_meta"]["penstock/outcome"]["retry_safe"] is True


def test_any_other_request_gets_an_error_with_the_outcome() -> None:
    answer = json.loads(words.OUT_OF_REACH.answer(Outgoing.of(line(HELLO))))
    assert answer["id"] == "hello"
    assert answer["error"]["code"] == -32010
    assert answer["error"]["data"]["outcome"] == "not_executed"


def test_every_status_has_words_and_only_failures_of_the_server_leave_the_outcome_open() -> None:
    for status in range(300, 600):
        trouble = words.by_status(status)
        assert trouble.sent is (status >= 500)
        assert trouble.text.endswith(".")


@pytest.mark.parametrize("trouble", ALL, ids=lambda trouble: trouble.text[:20])
def test_words_for_callers_name_what_happened_and_no_address(trouble: Trouble) -> None:
    assert "on site" in trouble.text
    assert trouble.text.endswith(".")
    assert "http" not in trouble.text.replace("HTTP", "")
