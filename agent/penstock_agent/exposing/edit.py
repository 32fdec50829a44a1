"""Edits of ``agent.toml`` that keep the operator's comments, order and spelling."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import tomlkit
from tomlkit.container import OutOfOrderTableProxy
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AbstractTable

from penstock_agent import config, settings_file, state
from penstock_agent.config import Settings
from penstock_agent.files import write_atomic
from penstock_agent.settings_file import ConfigError

_LINE = 100


def set_expose(settings: Settings, server: str, patterns: Sequence[str]) -> Settings:
    """Write the ``expose`` list of ``server`` and return the settings that the file holds now.

    Raises :exc:`~penstock_agent.settings_file.ConfigError`.
    """
    return change(settings, lambda text, path: with_expose(text, path, server, patterns))


def change(
    settings: Settings, edit: Callable[[str, Path], str], *, create: bool = False, backup: str = ""
) -> Settings:
    """Write what ``edit`` makes of the text of the file, and return the settings that it holds now.

    The new text must be good as a whole before it replaces the old one. Keeps mode and owner of the file.
    ``create``: there need not be one yet. ``backup``: what is appended to the name of a copy of the old text.
    Raises :exc:`~penstock_agent.settings_file.ConfigError`.
    """
    # The file itself, not a link to it: the link stays.
    path = Path(os.path.realpath(settings.config_file))
    found = settings_file.read_text(path, must_exist=not create)
    before = found or ""
    text = edit(before, path)
    changed = config.parse(text, settings.config_file, settings.options, os.environ)
    if text == before:
        return changed
    try:
        mode, owner = _rights(path, found is not None)
        path.parent.mkdir(parents=True, exist_ok=True)
        if backup and found is not None:
            write_atomic(path.with_name(path.name + backup), before.encode(), mode, owner)
        write_atomic(path, text.encode(), mode, owner)
    except OSError as e:
        raise ConfigError(
            f"{path} cannot be written: {e.strerror}. "
            "Run the command as its owner, who may write in that folder."
        ) from None
    return changed


def _rights(path: Path, exists: bool) -> tuple[int, tuple[int, int] | None]:
    """Mode and owner that the file has, or gets: root's, and readable for the service where there is one."""
    if exists:
        info = path.stat()
        return stat.S_IMODE(info.st_mode), (info.st_uid, info.st_gid)
    service = state.service_user() if os.geteuid() == 0 else None
    return (0o600, None) if service is None else (0o640, (0, service[1]))


def with_expose(text: str, path: Path, server: str, patterns: Sequence[str]) -> str:
    """The ``text`` of the file ``path`` with another ``expose`` list. Raises :exc:`ConfigError`."""
    try:
        document = tomlkit.parse(text)
    except TOMLKitError as e:
        raise ConfigError(f"{path}: not valid TOML: {e}.") from None
    servers = document.get("servers")
    table = servers.get(server) if isinstance(servers, AbstractTable | OutOfOrderTableProxy) else None
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
