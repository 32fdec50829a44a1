"""What the site says of a tool in the place of its server."""

from __future__ import annotations

import json

import pytest

from penstock_agent.gate.overrides import Override

RAW = b'{"name":"x", "description":"theirs","annotations":{"readOnlyHint":true,"title":"T"},"inputSchema":1}'


def test_only_what_the_site_says_is_replaced() -> None:
    override = Override("Ours", "ours", {"readOnlyHint": False})
    assert json.loads(override.over(RAW)) == {
        "name": "x",
        "title": "Ours",
        "description": "ours",
        "annotations": {"readOnlyHint": False, "title": "T"},
        "inputSchema": 1,
    }
    assert json.loads(Override(description="").over(RAW))["description"] == ""
    assert json.loads(Override().over(RAW)) == json.loads(RAW)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"name":"x","Description":"theirs","description":"theirs"}',
        b'{"name":"x","description":"theirs","description":"theirs too"}',
    ],
)
def test_the_servers_word_is_not_left_beside_ours(raw: bytes) -> None:
    assert b"theirs" not in Override(description="ours").over(raw)


def test_what_is_no_object_stays() -> None:
    assert Override("t").over(b"[]") == b"[]"
    assert json.loads(Override(annotations={"title": "t"}).over(b'{"annotations":5}')) == {
        "annotations": {"title": "t"}
    }
