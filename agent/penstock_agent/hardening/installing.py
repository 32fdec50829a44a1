"""Puts the units of a server where systemd finds them, and takes them away again. Needs root."""

from __future__ import annotations

import grp
import os
import pwd
import secrets
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from penstock_agent.children.confinement import places
from penstock_agent.children.environment import DEFAULT_PATH, prepared_folder
from penstock_agent.children.units import unit_main
from penstock_agent.children.units.spec import token_file, unit
from penstock_agent.config import Settings
from penstock_agent.files import write_atomic
from penstock_agent.hardening.text import HOMES, Site, credentials, service_unit, socket_unit
from penstock_agent.problem import Exit, Problem
from penstock_agent.server_settings import ServerSettings

UNITS: Final = Path("/etc/systemd/system")
_COMMAND_S: Final = 60.0
_SHOWN_EMPTY: Final = ("/srv", "/mnt", "/media")
#: Hidden by the unit, with all that programs may have there.
_HIDDEN: Final = (*_SHOWN_EMPTY, *HOMES, "/tmp", "/var/tmp")  # noqa: S108

Systemctl = Callable[[Sequence[str]], str]
"""Runs ``systemctl`` with these words; what it printed. Raises Problem."""


def units(settings: Settings, name: str, server: ServerSettings, ask: Systemctl) -> dict[str, str]:
    """The two files by their names. Raises Problem."""
    site = look(settings, name, server, ask)
    return {
        f"{unit(name)}.socket": socket_unit(name, site),
        f"{unit(name)}@.service": service_unit(name, server, site),
    }


def look(settings: Settings, name: str, server: ServerSettings, ask: Systemctl) -> Site:
    """What of this machine stands in the units. Raises Problem."""
    if server.url is not None:
        raise Problem(f"{name} has a url: there is no process to put into a unit of its own.", Exit.USAGE)
    if server.image is not None:
        raise Problem(
            f"{name} has an image: it runs in a container, which a unit would not confine.", Exit.USAGE
        )
    owner = _owner(settings.state_dir)
    hidden = [os.path.realpath(path) for path in settings.private]
    for key, paths in (("read", server.read), ("write", server.write)):
        for path in paths:
            if problem := places.refused(str(path), hidden):
                raise Problem(f"{key} names {path}, {problem}", Exit.USAGE)
    loaded = any(value.startswith("cred:") for value in server.env.values())
    return Site(
        agent=owner.pw_name,
        python=sys.executable,
        program=os.path.abspath(unit_main.__file__),
        token=token_file(settings.state_dir, name),
        state_dir=settings.state_dir.absolute(),
        closed=[
            str(path)
            for path in dict.fromkeys((settings.config_file.parent, settings.runtime_dir))
            if not path.absolute().is_relative_to(settings.state_dir.absolute())
        ],
        programs=list(dict.fromkeys(_programs(settings, name, server))),
        empty=[place for place in _SHOWN_EMPTY if os.path.isdir(place)],
        groups=list(dict.fromkeys(_groups(server, owner.pw_gid))),
        credentials=credentials(ask(["cat", "penstock-agent.service"])) if loaded else {},
        connections=settings.max_children,
    )


def install(
    settings: Settings, name: str, files: dict[str, str], ask: Systemctl, folder: Path = UNITS
) -> None:
    """Write the units and what an instance wants to hear, and have systemd listen. Raises Problem."""
    token = token_file(settings.state_dir, name)
    owner = _owner(settings.state_dir)
    try:
        if not token.parent.exists():
            token.parent.mkdir(mode=0o700)
            os.chown(token.parent, owner.pw_uid, owner.pw_gid)
        write_atomic(token, secrets.token_hex(32).encode(), 0o600, (owner.pw_uid, owner.pw_gid))
        _open_prepared(settings.state_dir, name)
        for file, text in files.items():
            write_atomic(folder / file, text.encode(), 0o644, (0, 0))
    except OSError as error:
        raise Problem(f"The units of {name} cannot be written: {error}.") from None
    ask(["daemon-reload"])
    ask(["enable", f"{unit(name)}.socket"])
    # Not start: it may listen already, by what was in its file before.
    ask(["restart", f"{unit(name)}.socket"])


def remove(settings: Settings, name: str, ask: Systemctl, folder: Path = UNITS) -> list[Path]:
    """Stop listening and take the units away; what was removed. Its data stays. Raises Problem."""
    files = [folder / f"{unit(name)}.socket", folder / f"{unit(name)}@.service"]
    there = [path for path in (*files, token_file(settings.state_dir, name)) if path.exists()]
    if files[0] in there:
        ask(["disable", "--now", f"{unit(name)}.socket"])
        ask(["stop", f"{unit(name)}@*.service"])
    try:
        for path in there:
            path.unlink()
    except OSError as error:
        raise Problem(f"The units of {name} cannot be removed: {error}.") from None
    ask(["daemon-reload"])
    return there


def systemctl(words: Sequence[str]) -> str:
    """Raises Problem."""
    command = ["systemctl", *words]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_COMMAND_S, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise Problem('There is no systemd on this machine. Use isolation = "landlock".') from None
    except subprocess.TimeoutExpired:
        raise Problem(f"{' '.join(command)} did not end within {_COMMAND_S:g} s. Run it by hand.") from None
    if done.returncode:
        said = (done.stderr.strip() or f"status {done.returncode}").splitlines()[-1][:300]
        raise Problem(f"{' '.join(command)} failed: {said}")
    return done.stdout


def _owner(state_dir: Path) -> pwd.struct_passwd:
    """Whose agent it is."""
    try:
        return pwd.getpwuid(state_dir.stat().st_uid)
    except (OSError, KeyError):
        raise Problem(
            f"{state_dir} is not there, or belongs to nobody: it says which user may connect. Join first: "
            "penstock-agent join",
        ) from None


def _programs(settings: Settings, name: str, server: ServerSettings) -> Iterator[str]:
    """What the command and our own program need of what the unit would hide."""
    path = server.env.get("PATH", DEFAULT_PATH)
    found = places.of_command(server.command, {"PATH": path}, os.path.expanduser("~"))
    own = [
        *places.of_command([sys.executable], {}, os.path.expanduser("~")),
        os.path.dirname(os.path.abspath(unit_main.__file__)),
    ]
    for each in (*found, *own):
        if any(Path(each).is_relative_to(place) for place in _HIDDEN):
            yield each
    prepared = prepared_folder(settings.state_dir, name)
    if prepared.is_dir():
        yield str(prepared)


def _groups(server: ServerSettings, agent: int) -> Iterator[str]:
    """Groups that give the unit's user what ``read`` and ``write`` name. Raises Problem."""
    for key, paths, needed in (("read", server.read, 4), ("write", server.write, 6)):
        for path in paths:
            try:
                info = path.stat()
            except OSError as error:
                raise Problem(
                    f"{key} names {path}, which cannot be looked at: {error.strerror}. Correct or remove it.",
                    Exit.USAGE,
                ) from None
            bits = needed | (1 if stat.S_ISDIR(info.st_mode) else 0)
            if (info.st_mode & bits) == bits:
                continue
            if ((info.st_mode >> 3) & bits) == bits and info.st_gid not in (0, agent):
                yield _group(info.st_gid)
                continue
            what = "read" if needed == 4 else "change"
            raise Problem(
                f"{key} names {path}, which the user of the unit may not {what}: it is neither root nor the "
                f"agent's. Give the place to a group of its own: groupadd mcp-data; chgrp -R mcp-data "
                f"{path}; chmod -R g+{'rX' if needed == 4 else 'rwX'} {path}",
                Exit.USAGE,
            )


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _open_prepared(state_dir: Path, name: str) -> None:
    """What was fetched for it belongs to the agent, in a folder that is closed to others: the unit's user
    sees it where it is bound, and must be allowed to read it there.
    """
    for folder, folders, files in os.walk(prepared_folder(state_dir, name)):
        for each in (folder, *(os.path.join(folder, found) for found in (*folders, *files))):
            mode = os.lstat(each).st_mode
            if not stat.S_ISLNK(mode):
                # Others may what the owner may, but not write.
                os.chmod(each, stat.S_IMODE(mode) | (stat.S_IMODE(mode) >> 6 & 0o5))
