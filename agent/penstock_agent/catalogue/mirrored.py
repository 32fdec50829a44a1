"""Arguments of tools that clients repeat in ``Mcp-Param-*`` headers. Pure.

A tool's input schema says which (``x-mcp-header``: 2026-07-28, basic/transports/streamable-http). A header
that says something else than the body would let whoever decides by headers decide about another call than
the one that is made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from penstock.envelope import member
from penstock.http import Headers, every
from penstock_agent.catalogue import headervalue

KEY: Final = "x-mcp-header"
PREFIX: Final = "mcp-param-"
MAX_MIRRORED: Final = 64
"""Arguments of one tool; a schema with more is treated as one without."""

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TYPES: Final = frozenset({"string", "integer", "boolean"})
_DECIMAL: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")

# Keywords of JSON Schema whose values are schemas. Data (default, const, enum, examples) is not looked into,
# and references are not followed.
_ONE: Final = frozenset(
    {
        "items", "contains", "unevaluatedItems", "additionalProperties", "propertyNames",
        "unevaluatedProperties", "not", "if", "then", "else", "contentSchema",
    }
)  # fmt: skip
_LIST: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_MAP: Final = frozenset({"patternProperties", "dependentSchemas", "$defs", "definitions"})


@dataclass(frozen=True, slots=True)
class Mirrored:
    """One argument that has a header."""

    path: tuple[str, ...]
    """Where it stands in the arguments."""
    header: str
    """Name of the header, lower case."""
    integer: bool
    """Whether it is compared as a number."""


def mirrored(schema: bytes | None) -> tuple[Mirrored, ...]:
    """The arguments that the ``inputSchema`` of a tool mirrors. None for a schema that breaks the rules:
    clients leave such a tool out.
    """
    if schema is None or (KEY.encode() not in schema and b"\\u" not in schema):
        return ()
    try:
        root: object = msgspec.json.decode(schema)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return ()
    found: dict[str, Mirrored] = {}
    for path, node in _schemas(root):
        if KEY not in node:
            continue
        token, kind = node[KEY], node.get("type")
        if not path or not isinstance(token, str) or not isinstance(kind, str):
            return ()
        name = PREFIX + token.lower()
        if _TOKEN.fullmatch(token) is None or kind not in _TYPES or name in found:
            return ()
        found[name] = Mirrored(path, name, kind == "integer")
    return tuple(found.values()) if len(found) <= MAX_MIRRORED else ()


def objection(wanted: Sequence[Mirrored], arguments: bytes | None, headers: Headers) -> str | None:
    """What is wrong with the headers of a call, in words; None when they say what its arguments say."""
    for one in wanted:
        given = every(headers, one.header)
        raw = None if arguments is None else member(arguments, *one.path)
        value = None if raw is None else _read(raw)
        shown = None if value is None else _shown(value)
        if len(given) > 1:
            return f"The header {one.header} stands twice: send it once."
        if shown is None:  # absent, null, or nothing that a header could say
            if given:
                return f"The header {one.header} repeats an argument that the body does not have."
            continue
        if not given:
            return f"The header {one.header} is missing: the tool's input schema asks for it. See tools/list."
        said = headervalue.decoded(given[0])
        if said is None or not (said == shown or (one.integer and _equal(said, value))):
            return f"The header {one.header} does not say what its argument in the body says."
    return None


def _schemas(root: object) -> Iterator[tuple[tuple[str, ...] | None, dict[str, object]]]:
    """Every schema in a schema, with its place in the arguments where that is certain."""
    stack: list[tuple[tuple[str, ...] | None, object]] = [((), root)]
    while stack:
        path, node = stack.pop()
        if not isinstance(node, dict):
            continue
        yield path, node
        for word, value in node.items():
            if word == "properties" and isinstance(value, dict):
                stack += ((None if path is None else (*path, name), inner) for name, inner in value.items())
            elif word in _ONE:
                stack.append((None, value))
            elif word in _LIST and isinstance(value, list):
                stack += ((None, inner) for inner in value)
            elif word in _MAP and isinstance(value, dict):
                stack += ((None, inner) for inner in value.values())


def _read(raw: bytes) -> object:
    try:
        value: object = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value


def _shown(value: object) -> str | None:
    """As a client writes it into a header."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None


def _equal(said: str, value: object) -> bool:
    """``42.0`` is ``42``, and large numbers keep their last digit."""
    if isinstance(value, bool) or not isinstance(value, int | float) or _DECIMAL.fullmatch(said) is None:
        return False
    whole, _, fraction = said.partition(".")
    if fraction.strip("0") or (isinstance(value, float) and not value.is_integer()):
        return False
    try:
        return int(whole) == int(value)
    except (ValueError, OverflowError):
        return False
