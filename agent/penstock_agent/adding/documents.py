"""The lists of servers in other hosts' files, whatever their format. Pure: text in, entries out.

JSON with comments and trailing commas (VS Code, Zed) and TOML (Codex). The servers stand under
``mcpServers``, ``servers``, ``mcp.servers``, ``context_servers`` or ``mcp_servers``; in Claude Code's
file under each project too.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

MAX_ENTRIES: Final = 500
_BROKEN: Final = "Correct it there, or copy the part with the servers into a file of its own and import that"

Table: TypeAlias = Mapping[str, object]


class BadDocument(Exception):
    """The text cannot be understood; why and where, without repeating it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One server as a host describes it."""

    name: str
    table: Table = field(repr=False)
    #: Whether the host itself does not use it.
    disabled: bool = False
    #: The project that it belongs to, where one file holds those of several.
    project: str = ""
    #: Described twice under one name in one file; the last one counts, as for the host.
    twice: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """``inputs``: what VS Code asks its user, by id: a description, and whether it is a password."""

    entries: tuple[Entry, ...]
    inputs: Mapping[str, tuple[str, bool]] = field(default_factory=dict)


class _Object(dict[str, object]):
    """An object of JSON that remembers which of its names stood there twice."""

    twice: frozenset[str] = frozenset()


def read(text: str, *, toml: bool = False) -> Document:
    """Raises :exc:`BadDocument`."""
    text = text.removeprefix("\ufeff")
    root = _toml(text) if toml else _json(text)
    if not isinstance(root, dict):
        raise BadDocument("it holds no object")
    entries = tuple(_entries(root))
    if len(entries) > MAX_ENTRIES:
        raise BadDocument(f"it names more than {MAX_ENTRIES} servers")
    return Document(entries, _inputs(root))


def _toml(text: str) -> object:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        where = re.search(r"\(at [^)]*\)", str(error))
        raise BadDocument(
            f"it is not valid TOML {where[0] if where else ''}. {_BROKEN}".replace(" .", ".")
        ) from None


def _json(text: str) -> object:
    try:
        return json.loads(plain(text), object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise BadDocument(
            f"it is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}. {_BROKEN}"
        ) from None
    except RecursionError:
        raise BadDocument("it is nested too deeply") from None
    except ValueError:
        raise BadDocument(f"it holds a number that is too long. {_BROKEN}") from None


def _object(pairs: list[tuple[str, object]]) -> _Object:
    found = _Object(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        found.twice = frozenset(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
    return found


_TOKEN: Final = re.compile(
    r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?\*/|,(?=(?:\s|//[^\n]*|/\*.*?\*/)*[}\]])', re.DOTALL
)


def plain(text: str) -> str:
    """JSON without the comments and trailing commas that some hosts allow; lines and columns stay."""

    def blank(found: re.Match[str]) -> str:
        piece = found[0]
        return piece if piece.startswith('"') else re.sub(r"[^\n]", " ", piece)

    return _TOKEN.sub(blank, text)


def _entries(root: Table) -> Iterator[Entry]:
    for path in (("mcpServers",), ("servers",), ("mcp", "servers"), ("context_servers",), ("mcp_servers",)):
        yield from _of(_within(root, *path))
    projects = root.get("projects")
    for project, settings in projects.items() if isinstance(projects, dict) else ():
        if isinstance(settings, dict):
            off = settings.get("disabledMcpServers")
            yield from _of(settings.get("mcpServers"), str(project), off if isinstance(off, list) else [])


def _within(root: Table, *path: str) -> object:
    found: object = root
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _of(servers: object, project: str = "", off: list[object] | None = None) -> Iterator[Entry]:
    if not isinstance(servers, dict):
        return
    twice = servers.twice if isinstance(servers, _Object) else frozenset()
    for name, table in servers.items():
        if isinstance(table, dict):
            disabled = table.get("disabled") is True or table.get("enabled") is False or name in (off or [])
            yield Entry(str(name), table, disabled, project, name in twice)


def _inputs(root: Table) -> dict[str, tuple[str, bool]]:
    inputs = root.get("inputs")
    found: dict[str, tuple[str, bool]] = {}
    for each in inputs if isinstance(inputs, list) else ():
        if isinstance(each, dict) and isinstance(each.get("id"), str):
            description = each.get("description")
            found[each["id"]] = (
                description if isinstance(description, str) else "",
                each.get("password") is True,
            )
    return found
