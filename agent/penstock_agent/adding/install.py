"""Fetches the package of a server once, at a fixed version, into a folder of its own in the state folder.

Nothing of it is used before all of it is there: its record is written last, and then agent.toml names it.
Nothing of a package runs while it is installed, unless ``scripts`` allows it: install scripts of npm and the
build of Python sources are programs of strangers, with the network and as the agent's user.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from penstock_agent.adding.fetch import Fetch, Prepared
from penstock_agent.adding.npm import npm
from penstock_agent.adding.packages import Registry, Wanted
from penstock_agent.adding.pypi import pypi
from penstock_agent.children.environment import prepared_folder
from penstock_agent.problem import Problem

RECORD: Final = "prepared.json"


def record_of(state_dir: Path, server: str, command: Sequence[str]) -> Prepared | None:
    """What ``command`` starts, if it was prepared."""
    home = prepared_folder(state_dir, server)
    for word in command[:2]:
        path = Path(word)
        if path.is_relative_to(home) and path != home:
            try:
                data = (home / path.relative_to(home).parts[0] / RECORD).read_bytes()[: 1 << 20]
                return msgspec.json.decode(data, type=Prepared)
            except (OSError, msgspec.DecodeError):
                return None
    return None


def install(
    wanted: Wanted,
    was: Sequence[str],
    state_dir: Path,
    server: str,
    *,
    scripts: bool = False,
    tell: Callable[[str], None] = lambda _: None,
    environ: Mapping[str, str] | None = None,
) -> Prepared:
    """Raises :exc:`Problem`; leaves nothing behind then, nor when it is interrupted."""
    home = prepared_folder(state_dir, server)
    try:
        home.parent.mkdir(mode=0o700, exist_ok=True)
        home.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise Problem(f"{home} cannot be made: {error.strerror}. Check who owns {state_dir}.") from None
    with _alone(home):
        folder = home / secrets.token_hex(4)
        try:
            folder.mkdir(mode=0o700)
            work = Fetch(folder, wanted, scripts, tell, os.environ if environ is None else environ)
            made = npm(work) if wanted.registry is Registry.NPM else pypi(work)
            made = msgspec.structs.replace(made, was=list(was))
            for name in (".home", ".log"):
                _remove(folder / name)
            (folder / RECORD).write_bytes(msgspec.json.encode(made))
        except OSError as error:
            _remove(folder)
            raise Problem(
                f"{folder} cannot be written: {error.strerror}. Make room, and try again."
            ) from None
        except BaseException:
            _remove(folder)
            raise
        return made


def tidy(state_dir: Path, server: str, keep: Sequence[str]) -> None:
    """Remove what was installed for a server but for the folders that the paths ``keep`` lie in."""
    home = prepared_folder(state_dir, server)
    kept = {Path(path).relative_to(home).parts[0] for path in keep if Path(path).is_relative_to(home)}
    with suppress(OSError):
        for each in home.iterdir():
            if each.name not in kept and each.is_dir():
                _remove(each)
        if not kept:
            _remove(home)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    fd = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Problem(
                "This server is being prepared by somebody else right now. Wait for that to end."
            ) from None
        yield
    finally:
        os.close(fd)


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink()
