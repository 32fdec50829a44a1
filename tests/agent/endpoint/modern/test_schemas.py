"""What tool lists say about headers, page by page."""

from __future__ import annotations

import json

import pytest

from penstock_agent.endpoint.modern.schemas import Schemas


def page(**tools: str | None) -> bytes:
    return json.dumps(
        {
            "tools": [
                {
                    "name": name,
                    "inputSchema": {
                        "properties": {"a": {"type": "string", **({"x-mcp-header": h} if h else {})}}
                    },
                }
                for name, h in tools.items()
            ]
        }
    ).encode()


def headers(known: Schemas, tool: str) -> list[str]:
    return [one.header for one in known.of(tool)]


def test_a_page_says_something_about_its_own_tools() -> None:
    known = Schemas()
    assert not known.heard
    known.listed(page(a="A", b=None))
    known.listed(page(c="C"))
    assert known.heard
    assert [headers(known, tool) for tool in "abcd"] == [["mcp-param-a"], [], ["mcp-param-c"], []]
    known.listed(page(a=None))
    assert [headers(known, tool) for tool in "abcd"] == [[], [], ["mcp-param-c"], []]


def test_what_has_changed_is_forgotten() -> None:
    known = Schemas()
    known.listed(page(a="A"))
    known.forget()
    assert headers(known, "a") == []
    assert not known.heard


@pytest.mark.parametrize(
    "raw", [b"{}", b"[]", b'{"tools":"x-mcp-header"}', b'{"tools":[{"name":"x-mcp-header"}]}']
)
def test_what_is_no_list_says_nothing(raw: bytes) -> None:
    known = Schemas()
    known.listed(page(a="A"))
    known.listed(raw)
    assert headers(known, "a") == ["mcp-param-a"]
