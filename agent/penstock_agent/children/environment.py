"""The environment of a child: a short list of names, and what its server declares. Nothing is inherited.

Of the agent's own environment only three *values* are looked at (PATH, LANG and TZ, which the operator sets
in the unit file); everything else that the agent was given (its settings, its credentials, the
service manager's sockets) has no way into a child.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from penstock_agent.children.child import ProcessSpec
from penstock_agent.children.confinement.plan import Confinement

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_LANG: Final = "C.UTF-8"

_FOLDERS: Final = {
    "HOME": ".",
    "TMPDIR": "tmp",
    "XDG_CACHE_HOME": ".cache",
    "XDG_CONFIG_HOME": ".config",
    "XDG_DATA_HOME": ".local/share",
    "XDG_STATE_HOME": ".local/state",
}

OFFLINE: Final = {"npm_config_offline": "true", "UV_OFFLINE": "1"}
"""Without a network: what npx and uvx have in their caches starts at once, and the rest fails at once and in
words. Otherwise they would try for a minute.
"""


class BadEnvironment(ValueError):
    """A declared variable that no process can be given; the text names it and says what to change."""


def clean_environment(folder: Path, declared: Mapping[str, str], agent: Mapping[str, str]) -> dict[str, str]:
    """Everything that a child living in ``folder`` gets. Pure.

    ``declared`` is the server's ``env`` in agent.toml and wins; ``agent`` is the agent's environment, of
    which only the values of PATH, LANG and TZ are used. Raises BadEnvironment.
    """
    env = {
        "PATH": _absolute(agent.get("PATH", "")) or DEFAULT_PATH,
        "LANG": agent.get("LANG") or DEFAULT_LANG,
    }
    if zone := agent.get("TZ"):
        env["TZ"] = zone
    for name, sub in _FOLDERS.items():
        env[name] = str(folder / sub)
    for name, value in declared.items():
        if not name or "=" in name or "\0" in name:
            raise BadEnvironment(
                f"env has a name that cannot be a variable: {name!r}. Use letters, digits and _."
            )
        if "\0" in value:
            raise BadEnvironment(f"the value of {name} in env contains a zero byte. Remove it.")
        env[name] = value
    return env


def server_folder(state_dir: Path, server: str) -> Path:
    """The state folder of a server's children: their HOME, and where they start. Not made by this call."""
    return state_dir / "servers" / server


def prepared_folder(state_dir: Path, server: str) -> Path:
    """Where the packages are that were fetched for a server. Its children may read it, and not change it."""
    return state_dir.absolute() / "prepared" / server


def prepare(
    state_dir: Path,
    server: str,
    command: tuple[str, ...],
    declared: Mapping[str, str],
    agent: Mapping[str, str],
    confinement: Confinement | None = None,
) -> ProcessSpec:
    """Make the server's folders (mode 0700) and say how its children start.

    ``declared`` and ``agent`` as for ``clean_environment``. Without ``confinement``: the level "process",
    with the machine's network. Raises BadEnvironment; OSError when a folder cannot be made.
    """
    folder = server_folder(state_dir.absolute(), server)
    confinement = confinement or Confinement()
    env = clean_environment(folder, declared if confinement.network else {**OFFLINE, **declared}, agent)
    for path in (folder.parent, folder, *(folder / sub for sub in _FOLDERS.values())):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return ProcessSpec(server, command, env, folder, confinement)


def _absolute(path: str) -> str:
    """PATH without relative entries: they would mean the child's own folder, which the child can write."""
    return ":".join(entry for entry in path.split(":") if entry.startswith("/"))
