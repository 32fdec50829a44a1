"""Tables of servers in the text of agent.toml: one added, taken out, given another command. Pure.

The operator's comments, order and spelling stay. What a change would alter beside what is meant is refused.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import tomlkit
from tomlkit.container import OutOfOrderTableProxy
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AbstractTable, InlineTable, Trivia

from penstock_agent.settings_file import ConfigError

MARK: Final = "import: not reviewed"
"""The comment behind a line that ``import`` wrote and that opens something, until somebody accepts it."""
OPENING: Final = ("read", "write", "network", "isolation")
"""Settings that such a comment may stand behind."""

_LINE: Final = 100
_GAP: Final = "\n"
_HEADER: Final = re.compile(r"\s*\[\[?[^\[\]#]*\]\]?\s*(?:#.*)?")

_AnyTable: TypeAlias = AbstractTable | InlineTable
Value: TypeAlias = str | Sequence[str] | Mapping[str, str]


def added(
    text: str,
    path: Path,
    name: str,
    values: Mapping[str, Value],
    *,
    marked: Collection[str] = (),
    comment: str = "",
) -> str:
    """``text`` with a table for the server ``name`` at its end. ``marked``: lines that wait for a review.

    ``comment`` stands below the header. Raises :exc:`ConfigError`.
    """
    if name in _servers(text, path):
        raise ConfigError(
            f"{path} has a server named {name} already. Choose another name, or remove that one first."
        )
    lines = [f"[servers.{name}]"]
    if comment:
        lines.append(f"# {_one_line(comment)}")
    for key, value in values.items():
        mark = f"  # {MARK}" if key in marked else ""
        lines.append(f"{key} = {written(value)}{mark}")
    table = "\n".join(lines) + "\n"
    expected = _parsed(text, path)
    servers = expected.setdefault("servers", {})
    if isinstance(servers, dict):
        servers[name] = _plain(values)
    try:
        return _checked(_beside_others(text, table), path, expected, "")
    except ConfigError:
        before = text if not text or text.endswith("\n") else text + "\n"
        result = f"{before}{_GAP if before.strip() else ''}{table}"
        return _checked(result, path, expected, f"Add [servers.{name}] by hand.")


def _beside_others(text: str, table: str) -> str:
    """``text`` with ``table`` behind the last of the servers, so that they stay together."""
    lines = text.splitlines(keepends=True)
    last = [end for _, end, keys in _blocks(lines) if keys[:1] == ["servers"]][-1:]
    if not last:
        return ""
    end = last[0]
    while end and not lines[end - 1].strip():
        end -= 1
    before, after = "".join(lines[:end]), "".join(lines[end:])
    return f"{before}{'' if before.endswith(_GAP) else _GAP}{_GAP}{table}{after}"


def _blocks(lines: Sequence[str]) -> Iterator[tuple[int, int, list[str]]]:
    """Tables: the line of the header, the one behind the last, and the name in parts."""
    headers = [(n, keys) for n, line in enumerate(lines) if (keys := _keys(line))]
    for index, (start, keys) in enumerate(headers):
        end = headers[index + 1][0] if index + 1 < len(headers) else len(lines)
        if end < len(lines):
            # A comment right above the next table is about that one.
            while end > start + 1 and lines[end - 1].lstrip().startswith("#"):
                end -= 1
        yield start, end, keys


def removed(text: str, path: Path, name: str) -> str:
    """``text`` without the table of the server ``name`` and the comment right above it."""
    expected = _parsed(text, path)
    servers = expected.get("servers")
    if not isinstance(servers, dict) or name not in servers:
        raise ConfigError(f"{path} has no server named {name}.")
    del servers[name]
    lines = text.splitlines(keepends=True)
    gone: set[int] = set()
    for start, end, keys in _blocks(lines):
        if keys[:2] != ["servers", name]:
            continue
        above = start
        while above > 0 and lines[above - 1].lstrip().startswith("#"):
            above -= 1
        # One that begins the file is about the file.
        gone.update(range(above if above > 0 else start, end))
    result = "".join(line for n, line in enumerate(lines) if n not in gone)
    if not servers and "servers" not in _parsed(result, path):
        # A table without entries need not be written.
        del expected["servers"]
    return _checked(result, path, expected, f"Remove [servers.{name}] by hand.")


def with_command(
    text: str, path: Path, name: str, command: Sequence[str], comment: str, *, offline: bool = False
) -> str:
    """``text`` with another command for the server, and a comment behind it.

    ``offline``: without a ``network`` line of ``import`` that nobody has accepted.
    """
    document, table = _table(text, path, name)
    expected = _parsed(text, path)
    meant: dict[str, object] = expected["servers"][name]  # type: ignore[index]  # the table that was just found
    array = tomlkit.array()
    array.extend(command)
    table["command"] = array
    meant["command"] = list(command)
    _comment(table, "command", f"# {_one_line(comment)}")
    if offline and "network" in table and _is_marked(table, "network"):
        table.remove("network")
        del meant["network"]
    return _checked(tomlkit.dumps(document), path, expected, f"Write command of [servers.{name}] by hand.")


def with_isolation(text: str, path: Path, name: str, level: str | None) -> str:
    """``text`` with another ``isolation`` of the server, or without the line. Raises :exc:`ConfigError`."""
    document, table = _table(text, path, name)
    expected = _parsed(text, path)
    meant: dict[str, object] = expected["servers"][name]  # type: ignore[index]  # the table that was just found
    if level is None:
        table.pop("isolation", None)
        meant.pop("isolation", None)
    else:
        new = "isolation" not in table
        table["isolation"] = meant["isolation"] = level
        if new and (line := _at_the_end(text, name, f'isolation = "{level}"\n')):
            return _checked(line, path, expected, f"Write isolation of [servers.{name}] by hand.")
        if _is_marked(table, "isolation"):
            _comment(table, "isolation", "")
    return _checked(tomlkit.dumps(document), path, expected, f"Write isolation of [servers.{name}] by hand.")


def _at_the_end(text: str, name: str, line: str) -> str:
    """``text`` with a line behind the last of the server's own, before what is about the next table.

    Empty where it has no header.
    """
    lines = text.splitlines(keepends=True)
    for start, end, keys in _blocks(lines):
        if keys == ["servers", name]:
            while end > start + 1 and not lines[end - 1].strip():
                end -= 1
            before = "".join(lines[:end])
            return f"{before}{'' if before.endswith(_GAP) else _GAP}{line}{''.join(lines[end:])}"
    return ""


def unreviewed(text: str) -> dict[str, list[str]]:
    """Servers with lines of ``import`` that nobody has accepted, and the settings in them."""
    try:
        servers = tomlkit.parse(text).get("servers")
    except TOMLKitError:
        return {}
    found: dict[str, list[str]] = {}
    for name, table in servers.items() if isinstance(servers, AbstractTable | OutOfOrderTableProxy) else ():
        if isinstance(table, AbstractTable) and (keys := [key for key in table if _is_marked(table, key)]):
            found[str(name)] = keys
    return found


def accepted(text: str, path: Path, name: str) -> str:
    """``text`` without the marks of one server."""
    document, table = _table(text, path, name)
    for key in list(table):
        if _is_marked(table, key):
            _comment(table, key, "")
    return _checked(tomlkit.dumps(document), path, _parsed(text, path), "Remove the comments by hand.")


def written(value: Value) -> str:
    """As TOML, a list over several lines when it is long."""
    if isinstance(value, str):
        return tomlkit.item(value).as_string()
    if isinstance(value, Mapping):
        pairs = (f"{tomlkit.key(k).as_string()} = {tomlkit.item(v).as_string()}" for k, v in value.items())
        return "{ " + ", ".join(pairs) + " }"
    items = [tomlkit.item(each).as_string() for each in value]
    line = f"[{', '.join(items)}]"
    return line if len(line) <= _LINE else "[\n" + "".join(f"    {each},\n" for each in items) + "]"


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def _plain(values: Mapping[str, Value]) -> dict[str, object]:
    return {
        key: value if isinstance(value, str) else dict(value) if isinstance(value, Mapping) else list(value)
        for key, value in values.items()
    }


def _keys(line: str) -> list[str]:
    """Of a line that begins a table: its name, in parts."""
    if not _HEADER.fullmatch(line.rstrip("\r\n")):
        return []
    try:
        found: object = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return []
    keys = []
    while isinstance(found, dict | list) and found:
        if isinstance(found, list):
            found = found[0]
            continue
        [(key, found)] = found.items()
        keys.append(key)
    return keys


def _trivia(table: _AnyTable, key: str) -> Trivia | None:
    return getattr(table.value.item(key), "trivia", None)


def _is_marked(table: _AnyTable, key: str) -> bool:
    trivia = _trivia(table, key)
    return trivia is not None and MARK in trivia.comment


def _comment(table: _AnyTable, key: str, comment: str) -> None:
    trivia = _trivia(table, key)
    if trivia is not None:
        trivia.comment = comment
        trivia.comment_ws = "  " if comment else ""


def _table(text: str, path: Path, name: str) -> tuple[tomlkit.TOMLDocument, _AnyTable]:
    try:
        document = tomlkit.parse(text)
    except TOMLKitError as e:
        raise ConfigError(f"{path}: not valid TOML: {e}.") from None
    servers = document.get("servers")
    table = servers.get(name) if isinstance(servers, AbstractTable | OutOfOrderTableProxy) else None
    if not isinstance(table, AbstractTable | InlineTable):
        raise ConfigError(f"{path} has no [servers.{name}] table. Add it with its command.")
    return document, table


def _servers(text: str, path: Path) -> Collection[str]:
    servers = _parsed(text, path).get("servers")
    return servers if isinstance(servers, dict) else ()


def _parsed(text: str, path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"{path}: not valid TOML: {e}.") from None


def _checked(text: str, path: Path, expected: Mapping[str, object], otherwise: str) -> str:
    """What was made, if it says what was meant and nothing else."""
    try:
        if tomllib.loads(text) == expected:
            return text
    except tomllib.TOMLDecodeError:
        pass
    raise ConfigError(
        f"{path} is written in a way that cannot be changed without harm; nothing was. {otherwise}"
    )
