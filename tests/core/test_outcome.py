import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import http, outcome
from penstock.envelope import Kind, parse_caller, parse_child

CODES = {name: value for name, value in vars(outcome).items() if name.isupper() and isinstance(value, int)}


def test_the_table_has_a_row_for_every_code_and_no_other() -> None:
    assert set(outcome.TABLE) == set(CODES.values())
    assert len(CODES) == 8


def test_the_codes_are_those_of_the_surface() -> None:
    rows = {code: (row.status, row.outcome, row.retry_safe) for code, row in outcome.TABLE.items()}
    assert rows[-32010] == (503, "not_executed", True)
    assert rows[-32011] == (504, "outcome_unknown", False)
    assert rows[-32012] == (200, "denied", False)
    assert {code: status for code, (status, _, _) in rows.items()} == dict(outcome.HTTP_STATUS)


@pytest.mark.parametrize("row", outcome.TABLE.values(), ids=lambda row: row.text[:20])
def test_every_row_names_cause_and_next_step_and_a_status_that_travels(row: outcome.Row) -> None:
    cause, colon, step = row.text.partition(": ")
    assert cause
    assert colon
    assert step.endswith(".")
    assert row.status in http.RESPONSE_STATUSES
    assert (row.outcome is None) == (row.retry_safe is None)


@pytest.mark.parametrize("code", sorted(outcome.TABLE))
def test_every_code_makes_an_error_message_with_the_words_of_the_table(code: int) -> None:
    message = parse_child(outcome.rpc_error(b"7", code, ""))
    assert message.kind is Kind.ERROR
    assert message.id == b"7"
    assert message.error is not None
    error = json.loads(message.error)
    row = outcome.TABLE[code]
    assert error["code"] == code
    assert error["message"] == row.text
    if row.outcome is None:
        assert "data" not in error
    else:
        assert error["data"] == {"outcome": row.outcome, "exchange": "", "retry_safe": row.retry_safe}


@given(
    st.text(st.characters(codec="utf-8")),
    st.sampled_from([b"1", b'"1"', b"12345678901234567890123456789012345678901"]),
)
def test_an_error_keeps_the_id_byte_for_byte_and_stays_one_line(text: str, id: bytes) -> None:
    data = outcome.rpc_error(id, outcome.INTERNAL, text)
    assert parse_caller(data).id == id
    assert b"\n" not in data
    assert json.loads(data)["error"]["message"] == (text or outcome.TABLE[outcome.INTERNAL].text)


def test_an_error_without_id_says_null() -> None:
    assert json.loads(outcome.rpc_error(None, outcome.PARSE_ERROR, "x"))["id"] is None


def test_data_says_what_the_caller_of_the_table_knows_better() -> None:
    data = outcome.rpc_error(
        b"1", outcome.INTERNAL, "x", exchange="ab12", outcome="outcome_unknown", retry_safe=True
    )
    assert json.loads(data)["error"]["data"] == {
        "outcome": "outcome_unknown",
        "exchange": "ab12",
        "retry_safe": True,
    }


def test_nobody_is_told_that_a_retry_is_safe_unless_somebody_knows() -> None:
    data = outcome.rpc_error(b"1", outcome.INTERNAL, "x", outcome="outcome_unknown")
    assert json.loads(data)["error"]["data"]["retry_safe"] is False


def test_a_code_of_someone_else_is_passed_on() -> None:
    assert json.loads(outcome.rpc_error(b"1", -32022, "x"))["error"] == {"code": -32022, "message": "x"}


def test_a_tool_error_is_a_result_that_a_model_can_read() -> None:
    message = parse_child(
        outcome.tool_error(
            b'"a"', "The site is offline.", outcome="not_executed", exchange="k", retry_safe=True
        )
    )
    assert message.kind is Kind.RESPONSE
    assert message.id == b'"a"'
    assert message.result is not None
    assert json.loads(message.result) == {
        "content": [{"type": "text", "text": "The site is offline."}],
        "isError": True,
        "_meta": {
            "penstock/outcome": {"outcome": "not_executed", "exchange": "k", "retry_safe": True},
        },
    }


def test_a_tool_error_says_of_which_type_it_is_where_results_do() -> None:
    modern, older = (
        json.loads(outcome.tool_error(b"1", "no", outcome="denied", modern=modern))["result"]
        for modern in (True, False)
    )
    assert modern.pop("resultType") == "complete"
    assert modern == older
