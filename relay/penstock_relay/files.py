"""Private files of the relay: made whole or not at all, readable by their owner only.

An administrator may run a command as root before the service ever ran; what root makes here is handed to
the owner of the folder, so that the service can read it afterwards.
"""

import os
import secrets
from pathlib import Path
from typing import Final

FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700


def make_folder(path: Path) -> None:
    """Makes ``path`` with mode 0700. One that exists is left as it is. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=FOLDER_MODE, exist_ok=True)


def create(path: Path, data: bytes) -> bool:
    """Makes ``path`` with ``data``; False when it exists. Of two at once, one wins. Raises OSError."""
    temporary = _temporary(path, data)
    try:
        # A link, unlike a rename, never replaces: the file appears complete, and only for the first.
        os.link(temporary, path)
    except FileExistsError:
        return False
    else:
        _sync_folder(path.parent)
        return True
    finally:
        temporary.unlink()


def replace(path: Path, data: bytes) -> None:
    """Puts ``data`` in the place of ``path``; a reader sees the old content or the new. Raises OSError."""
    temporary = _temporary(path, data)
    try:
        temporary.replace(path)
    except OSError:
        temporary.unlink()
        raise
    _sync_folder(path.parent)


def touch(path: Path) -> None:
    """Makes an empty private file unless there is one. Raises OSError."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, FILE_MODE)
    try:
        _hand_over(descriptor, path.parent)
    finally:
        os.close(descriptor)


def _temporary(path: Path, data: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, FILE_MODE)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            _hand_over(descriptor, path.parent)
            os.fsync(descriptor)
    except OSError:
        temporary.unlink()
        raise
    return temporary


def _hand_over(descriptor: int, folder: Path) -> None:
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
