"""What callers read when there is no answer of the server: total, in words, the same everywhere."""

from __future__ import annotations

import json

import pytest

from penstock.envelope import request
from penstock.outcome import TABLE
from penstock_agent.endpoint import failures, versions
from penstock_agent.endpoint.failures import Failure

FIXED = [value for value in vars(failures).values() if isinstance(value, Failure)]


@pytest.mark.parametrize("failure", FIXED, ids=lambda f: f.text[:40])
def test_every_failure_has_a_cause_a_next_step_and_a_row_in_the_table(failure: Failure) -> None:
    assert failure.code in TABLE
    sentences = [part for part in failure.text.replace(";", ".").split(".") if part.strip()]
    assert failure.text.endswith(".")
    assert len(sentences) >= 2 or failure is failures.REVOKED


@pytest.mark.parametrize("failure", FIXED, ids=lambda f: f.text[:40])
def test_a_tools_call_reads_it_as_a_result_and_others_as_an_error(failure: Failure) -> None:
    row = TABLE[failure.code]
    data = {"outcome": row.outcome, "exchange": "key", "retry_safe": row.retry_safe}
    status, raw = failure.answer(request(b'"x"', "tools/call", None), "key")
    message = json.loads(raw)
    assert (status, message["id"]) == (200, "x")
    assert message["result"]["isError"] is True
    assert message["result"]["content"] == [{"type": "text", "text": failure.text}]
    assert message["result"]["_meta"] == {"penstock/outcome": data}
    status, raw = failure.answer(request(b"1", "tools/list", None), "key")
    message = json.loads(raw)
    assert (status, message["id"]) == (row.status, 1)
    assert message["error"] == {"code": failure.code, "message": failure.text, "data": data}


def test_an_unsupported_version_is_shown_shortened() -> None:
    message = json.loads(failures.unsupported_version(None, versions.SUPPORTED, "9" * 500))
    assert message["id"] is None
    assert message["error"]["data"]["requested"] == "9" * 64
