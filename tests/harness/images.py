"""A podman with storage of its own, and an image of this interpreter in it: nothing comes from a registry."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

HARNESS: Final = Path(__file__).parent
NAME: Final = "localhost/penstock/python"
SERVER: Final = "/srv/tool_server.py"
"""In the image, which starts it: an MCP server."""
ENTRY: Final = "/srv/entry.py"
_ENTRY: Final = f"""
import runpy, sys
if sys.argv[1:2] == ["--run"]:
    exec(sys.argv[2])
else:
    runpy.run_path({SERVER!r}, run_name="__main__")
""".encode()
_COMMAND_S: Final = 60.0
_LEFT_OUT: Final = (
    "site-packages",
    "test",
    "idlelib",
    "lib2to3",
    "ensurepip",
    "tkinter",
    "__pycache__",
    "pydoc_data",
)


@dataclass(frozen=True)
class Images:
    """``env``: by which whoever calls podman uses this one. ``image``: at its digest."""

    env: dict[str, str]
    image: str

    @cached_property
    def python(self) -> str:
        """The interpreter in the image."""
        return os.path.realpath(sys.executable)

    def containers(self) -> list[str]:
        """Names of all that are there, running or not."""
        return self.podman("ps", "--all", "--format", "{{.Names}}").split()

    def inspect(self, name: str) -> dict[str, object]:
        found: list[dict[str, object]] = json.loads(self.podman("inspect", name))
        return found[0]

    def podman(self, *words: str) -> str:
        return _podman(self.env, *words)


@contextmanager
def images() -> Iterator[Images]:
    """Raises RuntimeError where podman can run nothing; the text says why."""
    if shutil.which("podman") is None:
        raise RuntimeError("there is no podman: apt install podman")
    # Short: podman's sockets lie there.
    folder = Path(tempfile.mkdtemp(prefix="pm"))
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/root"\nrunroot = "{folder}/run"\n'
    )
    (folder / "containers.conf").write_text(
        f'[engine]\ncgroup_manager = "cgroupfs"\ntmp_dir = "{folder}/tmp"\nevents_logger = "none"\n'
    )
    env = {
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        "CONTAINERS_CONF": str(folder / "containers.conf"),
    }
    try:
        (folder / "image.tar").write_bytes(_rootfs())
        entry = json.dumps([os.path.realpath(sys.executable), "-I", "-S", ENTRY])
        said = _podman(
            env, "import", "--quiet", f"--change=ENTRYPOINT {entry}", str(folder / "image.tar"), f"{NAME}:1"
        )
        assert said.startswith("sha256:"), said
        found = _podman(env, "image", "inspect", "--format", "{{index .RepoDigests 0}}", f"{NAME}:1").strip()
        made = Images(env, found)
        # As little as can be asked for; these two where root has no right to raise its limits.
        limits = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096")
        words = ("--network=none", "--pull=never", f"--entrypoint={made.python}")
        made.podman("run", "--rm", *limits, *words, found, "-I", "-S", "-c", "")
        yield made
    finally:
        subprocess.run(
            ["podman", "rm", "--all", "--force", "--time=0"],
            env={**os.environ, **env},
            timeout=_COMMAND_S,
            capture_output=True,
            check=False,
        )
        subprocess.run(["umount", "-l", f"{folder}/root/overlay"], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _podman(env: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        ["podman", *words],
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_COMMAND_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"podman {words[0]} does not work here: {done.stderr.strip()[-300:]}")
    return done.stdout


def _rootfs() -> bytes:
    """This interpreter where it lies here, with the libraries that it needs, and what the tests run."""
    python = os.path.realpath(sys.executable)
    library = Path(os.__file__).parent
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for folder in ("tmp", "var/tmp"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
            tar.addfile(entry)
        for path in {python, *_libraries(python)}:
            tar.add(os.path.realpath(path), path)
        tar.add(library, str(library), filter=lambda each: None if _left_out(each.name) else each)
        tar.add(HARNESS / "tool_server.py", SERVER)
        entry = tarfile.TarInfo(ENTRY)
        entry.size = len(_ENTRY)
        tar.addfile(entry, io.BytesIO(_ENTRY))
    return data.getvalue()


def _left_out(name: str) -> bool:
    return any(part in _LEFT_OUT or part.startswith("config-") for part in name.split("/"))


def _libraries(program: str) -> list[str]:
    said = subprocess.run(
        ["ldd", program], capture_output=True, text=True, timeout=_COMMAND_S, check=True
    ).stdout
    return [word for word in said.split() if word.startswith("/")]
