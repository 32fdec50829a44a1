"""What the launcher is told to become a child in a container. Looks at the disk and asks podman."""

import os
import resource
import secrets
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from penstock_agent.children.confinement import places
from penstock_agent.children.confinement.kernel import Kernel
from penstock_agent.children.confinement.plan import OOM_SCORE, CannotConfine, Confinement
from penstock_agent.children.containers import podman, run
from penstock_agent.children.containers.run import Container, Here
from penstock_agent.children.references import credential_of, file_of

_PROGRAM: Final = str(Path(__file__).with_name("container_main.py"))
_LIMITS: Final = {
    "core": resource.RLIMIT_CORE,
    "data": resource.RLIMIT_DATA,
    "nofile": resource.RLIMIT_NOFILE,
    "nproc": resource.RLIMIT_NPROC,
    "cpu": resource.RLIMIT_CPU,
    "fsize": resource.RLIMIT_FSIZE,
}
_OF_PODMAN: Final = 125
"""Its exit status where it was podman that failed, and not the server."""


def told(
    container: Container,
    confinement: Confinement,
    kernel: Kernel,
    *,
    server: str,
    command: tuple[str, ...],
    declared: Mapping[str, str],
    env: Mapping[str, str],
    folder: Path,
    agent: Mapping[str, str],
) -> tuple[tuple[str, ...], dict[str, str], list[str]]:
    """Command, environment and steps for the launcher. ``declared``: with secrets named by where they lie;
    ``env``: with the secrets; ``agent``: the agent's environment.

    Raises CannotConfine.
    """
    for variable, value in declared.items():
        if run.in_words(variable) and (file_of(value) or credential_of(value)):
            raise CannotConfine(
                f"{variable} in env is a variable of podman's own too, so its value would stand in the list "
                "of processes, and it names a secret. Give the server its secret by another variable."
            )
    _check_places(container, confinement, folder)
    found = podman.look(agent)
    own = podman.own(agent)
    name = f"penstock-{server}-{secrets.token_hex(4)}"
    here = Here(
        os.geteuid(),
        os.getegid(),
        found.rootless,
        found.controllers,
        {each: hard for each, number in _LIMITS.items() if (hard := _hard(number)) is not None},
        kernel.counts,
        podman.this_process(),
        OOM_SCORE,
    )
    words = run.words(
        found.program,
        container,
        here,
        server=server,
        name=name,
        command=command,
        env=env,
        folder=folder,
        network=confinement.network,
        limits=confinement.limits,
    )
    steps = [f"limit {resource.RLIMIT_CORE} 0", f"oom {OOM_SCORE}"]
    return (sys.executable, "-I", "-S", _PROGRAM, name, *words), run.environment(own, env), steps


def likely(server: str, returncode: int | None, said: Iterable[str]) -> str:
    """Why podman did not start it, where that can be said; empty otherwise."""
    if returncode != _OF_PODMAN:
        return ""
    if any("image not known" in line for line in said):
        return f"its image is not on this machine. Fetch it: penstock-agent servers prepare {server}"
    return "podman could not start it. See: penstock-agent doctor"


def _hard(number: int) -> int | None:
    hard = resource.getrlimit(number)[1]
    return None if hard == resource.RLIM_INFINITY else hard


def _check_places(container: Container, confinement: Confinement, folder: Path) -> None:
    hidden = [os.path.realpath(path) for path in confinement.hidden]
    for mount in container.mounts:
        setting = "write" if mount.writable else "read"
        if problem := places.refused(str(mount.source), hidden):
            raise CannotConfine(f"{setting} names {mount.source}, {problem}")
        if not mount.source.exists():
            raise CannotConfine(
                f"{setting} names {mount.source}, which is not there, or which the agent may not see. "
                "Correct or remove it."
            )
    for path in (folder, *(each for mount in container.mounts for each in (mount.source, mount.target))):
        if run.unmountable(path):
            raise CannotConfine(
                f"{str(path)!r} cannot be shown in a container: it has a comma, quote or backslash in it. "
                "Give the place another name."
            )
