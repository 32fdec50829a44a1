"""Edits of ``agent.toml`` that keep the operator's comments, order and spelling."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AbstractTable

from penstock_agent import config
from penstock_agent.config import ConfigError, Settings
from penstock_agent.files import write_atomic

_LINE = 100


def set_expose(settings: Settings, server: str, patterns: Sequence[str]) -> Settings:
    """Write the ``expose`` list of ``server`` and return the settings that the file holds now.

    The new text must be good as a whole before it replaces the old one. Keeps mode and owner of the file.
    Raises :exc:`~penstock_agent.config.ConfigError`.
    """
    # The file itself, not a link to it: the link stays.
    path = Path(os.path.realpath(settings.config_file))
    before = config.read_text(path, must_exist=True) or ""
    text = with_expose(before, path, server, patterns)
    changed = config.parse(text, settings.config_file, settings.options, os.environ)
    if text == before:
        return changed
    try:
        info = path.stat()
        write_atomic(path, text.encode(), stat.S_IMODE(info.st_mode), (info.st_uid, info.st_gid))
    except OSError as e:
        raise ConfigError(
            f"{path} cannot be written: {e.strerror}. "
            "Run the command as its owner, who may write in that folder."
        ) from None
    return changed


def with_expose(text: str, path: Path, server: str, patterns: Sequence[str]) -> str:
    """The ``text`` of the file ``path`` with another ``expose`` list. Raises :exc:`ConfigError`."""
    try:
        document = tomlkit.parse(text)
    except TOMLKitError as e:
        raise ConfigError(f"{path}: not valid TOML: {e}.") from None
    servers = document.get("servers")
    table = servers.get(server) if isinstance(servers, AbstractTable) else None
    if not isinstance(table, AbstractTable) and not isinstance(table, tomlkit.items.InlineTable):
        raise ConfigError(f"{path} has no [servers.{server}] table. Add it with its command.")
    array = tomlkit.array()
    array.extend(patterns)
    # One pattern a line once the list is too long for one line: that is what gets reviewed in a diff.
    if len(array.as_string()) > _LINE and isinstance(table, AbstractTable):
        array.multiline(True)
    old = table.get("expose")
    if old is not None and list(old.unwrap() if hasattr(old, "unwrap") else old) == list(patterns):
        return text
    table["expose"] = array
    return tomlkit.dumps(document)
