"""Where other MCP hosts keep the list of their servers on Linux and macOS."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_FILE_BYTES: Final = 32 << 20
"""Claude Code keeps its whole history in the same file."""
MAX_HOMES: Final = 100

_CODE: Final = ("Code", "Code - Insiders", "VSCodium")
_CLINE: Final = "User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json"
_SUPPORT: Final = "Library/Application Support"

#: Host and path below a home folder.
OF_HOMES: Final = (
    ("Claude Desktop", ".config/Claude/claude_desktop_config.json"),
    ("Claude Desktop", f"{_SUPPORT}/Claude/claude_desktop_config.json"),
    ("Claude Code", ".claude.json"),
    ("Cursor", ".cursor/mcp.json"),
    *(("VS Code", f"{base}/{code}/User/mcp.json") for base in (".config", _SUPPORT) for code in _CODE),
    *(("VS Code", f"{base}/{code}/User/settings.json") for base in (".config", _SUPPORT) for code in _CODE),
    *(("Cline", f"{base}/{code}/{_CLINE}") for base in (".config", _SUPPORT) for code in _CODE),
    ("Cline", ".cline/data/settings/cline_mcp_settings.json"),
    ("Copilot CLI", ".copilot/mcp-config.json"),
    ("Windsurf", ".codeium/windsurf/mcp_config.json"),
    ("Gemini CLI", ".gemini/settings.json"),
    ("Codex", ".codex/config.toml"),
    ("Zed", ".config/zed/settings.json"),
    ("Zed", f"{_SUPPORT}/Zed/settings.json"),
)

#: Host and path below the folder of a project.
OF_PROJECTS: Final = (
    ("Claude Code", ".mcp.json"),
    ("Cursor", ".cursor/mcp.json"),
    ("VS Code", ".vscode/mcp.json"),
    ("Gemini CLI", ".gemini/settings.json"),
    ("Codex", ".codex/config.toml"),
    ("Zed", ".zed/settings.json"),
)


@dataclass(frozen=True, slots=True)
class Source:
    """A file, whose it is, and what paths in it are relative to."""

    path: Path
    host: str
    home: Path
    #: The project's folder; None for a file that belongs to no project.
    project: Path | None = None


class CannotRead(Exception):
    """The file cannot be used; the text is a sentence without its contents."""


def homes() -> list[Path]:
    """Whose files are looked at: one's own; as root, those of everybody who can log in here."""
    found = [Path.home()]
    if os.geteuid() == 0:
        people = (entry for entry in pwd.getpwall() if entry.pw_uid >= 1000 and entry.pw_dir.startswith("/"))
        found += [
            Path(entry.pw_dir)
            for entry in people
            if not entry.pw_shell.endswith(("nologin", "/false")) and entry.pw_dir != "/"
        ]
    return list(dict.fromkeys(found))[:MAX_HOMES]


def find(homes: Sequence[Path], project: Path | None) -> Iterator[Source]:
    """The files that there are, of these people and of one project."""
    seen: set[Path] = set()
    for home in homes:
        for host, name in OF_HOMES:
            if (path := home / name) not in seen and _there(path):
                seen.add(path)
                yield Source(path, host, home)
    if project is not None:
        for host, name in OF_PROJECTS:
            if (path := project / name) not in seen and _there(path):
                seen.add(path)
                yield Source(path, host, homes[0], project)


def of_file(path: Path) -> Source:
    """A file that somebody names: what it is, by its place."""
    path = path.absolute()
    for host, name in OF_PROJECTS:
        folder = (
            path.parents[len(Path(name).parts) - 1] if len(path.parents) >= len(Path(name).parts) else None
        )
        if folder is not None and folder / name == path and folder != Path.home():
            return Source(path, host, Path.home(), folder)
    for host, name in OF_HOMES:
        if str(path).endswith(f"/{name}"):
            return Source(path, host, Path(str(path).removesuffix(f"/{name}") or "/"))
    return Source(path, "file", Path.home())


def read(source: Source) -> str:
    """Raises :exc:`CannotRead`. Files of others are read with care: no pipes, nothing endless."""
    path = source.path
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            data = file.read(MAX_FILE_BYTES + 1) if regular else b""
    except OSError as error:
        raise CannotRead(f"{path} cannot be read: {error.strerror}.") from None
    if not regular:
        raise CannotRead(f"{path} is not a regular file.")
    if len(data) > MAX_FILE_BYTES:
        raise CannotRead(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB: is it the right file?")
    try:
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise CannotRead(f"{path}: not UTF-8 at byte {error.start}.") from None


def _there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False
