"""The file of the settings, which nobody else may write: whoever can decides what leaves the site."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from penstock_agent.problem import Exit, Problem

MAX_CONFIG_BYTES = 1 << 20


class ConfigError(Problem):
    """The settings cannot be used; one line per reason, each naming where it stands and what is allowed."""

    status = Exit.USAGE


def read_text(path: Path, *, must_exist: bool) -> str | None:
    """The text of a settings file that nobody else may write; None when it does not exist and need not.

    Raises :exc:`ConfigError`.
    """
    try:
        with path.open("rb") as f:
            info = os.fstat(f.fileno())
            _check_safe(path, info)
            data = f.read(MAX_CONFIG_BYTES + 1)
    except FileNotFoundError:
        if must_exist:
            raise ConfigError(
                f"{path} does not exist. Create it, or name another file with --config."
            ) from None
        return None
    except OSError as e:
        raise ConfigError(
            f"{path} cannot be read: {e.strerror}. Run the command as a user who may."
        ) from None
    if len(data) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_CONFIG_BYTES} bytes.")
    try:
        return data.decode()
    except UnicodeDecodeError as e:
        raise ConfigError(f"{path}: not UTF-8 at byte {e.start}.") from None


def _check_safe(path: Path, info: os.stat_result) -> None:
    """Whoever writes this file decides what leaves the site, and which programs run here."""
    if not stat.S_ISREG(info.st_mode):
        raise ConfigError(f"{path} is not a regular file.")
    if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(
            f"{path} can be written by others (mode {stat.S_IMODE(info.st_mode):04o}), "
            f"and it decides what leaves this site. Check its content, then: chmod go-w {path}"
        )
    if info.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            f"{path} belongs to another user (uid {info.st_uid}), and it decides what leaves this site. "
            f"Check its content, then: chown root {path}"
        )
