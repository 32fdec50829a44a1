"""Rules that were suggested, as a change of ``agent.toml``: shown, never made."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AbstractTable, AoT, Table

from penstock_agent.gate.policy.suggest import Proposal
from penstock_agent.settings_file import ConfigError

#: A rule with one of these was thought about by somebody: it stays as it is.
_KEPT: Final = ("deny", "arguments", "budget", "approve")


def diff(text: str, path: Path, suggested: Mapping[str, Sequence[Proposal]]) -> str:
    """What to change in the file ``path``, as a unified diff; empty for nothing. Raises ConfigError."""
    after = with_rules(text, path, suggested)
    lines = difflib.unified_diff(
        text.splitlines(keepends=True), after.splitlines(keepends=True), str(path), f"{path} (suggested)"
    )
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def with_rules(text: str, path: Path, suggested: Mapping[str, Sequence[Proposal]]) -> str:
    """The text with the suggested rules in the place of those that only allow. Servers that are not in the
    file are passed over. Raises :exc:`ConfigError`.
    """
    try:
        document = tomlkit.parse(text)
    except TOMLKitError as e:
        raise ConfigError(f"{path}: not valid TOML: {e}.") from None
    servers = document.get("servers")
    if not isinstance(servers, AbstractTable):
        return text
    for server, proposals in suggested.items():
        table = servers.get(server)
        if not isinstance(table, Table) or not proposals:
            continue
        before = table.get("rules")
        kept = [
            rule
            for rule in (before if isinstance(before, list) else [])
            if isinstance(rule, Mapping) and any(key in rule for key in _KEPT)
        ]
        taken = {str(rule.get("name")) for rule in kept}
        rules = AoT([])
        for rule in kept:
            rules.append(rule)
        for proposal in proposals:
            rules.append(_table(proposal, taken))
        if before is not None:
            del table["rules"]
        table.append("rules", rules)
    return tomlkit.dumps(document)


def _table(proposal: Proposal, taken: set[str]) -> Table:
    name = proposal.name
    while name in taken:
        name += "'"
    taken.add(name)
    table = tomlkit.table()
    table.append("name", name)
    table.append("users", _array(proposal.users))
    if proposal.clients:
        table.append("clients", _array(proposal.clients))
    table.append("allow", _array(proposal.allow))
    table.append("budget", {"calls_per_day": proposal.calls_per_day})
    return table


def _array(texts: Sequence[str]) -> tomlkit.items.Array:
    array = tomlkit.array()
    array.extend(texts)
    if len(array.as_string()) > 90:
        array.multiline(True)
    return array
