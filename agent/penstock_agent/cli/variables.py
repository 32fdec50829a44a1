"""Variables and headers that a server is given: read from options and files, their secrets put into files."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from penstock_agent.cli.common import usage
from penstock_agent.problem import Problem

if TYPE_CHECKING:
    from penstock_agent.config import Settings


def hide_secrets(
    settings: Settings, name: str, values: Mapping[str, str], made: list[Path], *, header: bool = False
) -> dict[str, str]:
    """``values`` with references in the place of what looks like secrets. The files are added to ``made``."""
    from penstock_agent.adding.secretwords import is_secret

    secret = [key for key, value in values.items() if is_secret(key, value) and not _reference(value)]
    return store_secrets(settings, name, values, secret, made, header=header)


def store_secrets(
    settings: Settings,
    name: str,
    values: Mapping[str, str],
    secret: Collection[str],
    made: list[Path],
    *,
    header: bool = False,
) -> dict[str, str]:
    """``values`` with references in the place of those called ``secret``, whose values go into files."""
    from penstock_agent import asuser, state
    from penstock_agent.adding import secretfiles
    from penstock_agent.adding.convert import in_file

    found = dict(values)
    for key in values:
        if key not in secret:
            continue
        scheme, content = in_file(values[key], header=header)
        state.prepare(settings.state_dir)

        def store(key: str = key, content: str = content) -> bytes:
            try:
                return bytes(secretfiles.store(settings.state_dir, name, key, content))
            except OSError as e:
                raise Problem(
                    f"The secret {key} cannot be stored in {settings.state_dir}: {e.strerror}."
                ) from None

        path = Path(asuser.call(store, settings.state_dir).decode())
        made.append(path)
        found[key] = f"{scheme}file:{path}"
    return found


def read_variables(path: Path) -> dict[str, str]:
    """``NAME=VALUE`` lines; blank lines, comments, ``export`` and quotes around values are understood."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as e:
        why = e.strerror if isinstance(e, OSError) else "it is not text"
        raise usage(f"{path} cannot be read: {why}.") from None
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip().removeprefix("export ").strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            raise usage(f"{path}, line {number}: write NAME=VALUE.")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[name.strip()] = value
    return found


def pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """``NAME=VALUE`` of an option."""
    found = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise usage(f"{option} takes NAME=VALUE.")
        found[name] = value
    return found


def _reference(value: str) -> bool:
    return value.startswith(("file:/", "cred:")) or " file:/" in value
