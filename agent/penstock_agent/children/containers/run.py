"""The words of ``podman run`` for one child, and podman's own environment. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from penstock_agent.children.confinement.limits import SHARED_PROCESSES, Limits

HOME: Final = "/home/penstock"
"""Where the server's own folder lies in the container."""

LABEL_AGENT: Final = "io.penstock.agent"
LABEL_SERVER: Final = "io.penstock.server"
LABEL_BY: Final = "io.penstock.by"
"""Labels: whose container it is, by its state folder; of which server; and which process started it."""

NEEDED: Final = ("PATH", "HOME")
OWN: Final = (
    *NEEDED, "USER", "LOGNAME", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME",
    "DBUS_SESSION_BUS_ADDRESS", "CONTAINERS_CONF", "CONTAINERS_REGISTRIES_CONF", "CONTAINERS_STORAGE_CONF",
    "REGISTRY_AUTH_FILE",
)  # fmt: skip
"""What podman gets of the agent's environment: where its images lie, and how it is set up."""

_HEEDED: Final = re.compile(
    r"(?:_?CONTAINERS?_|STORAGE_|BUILDAH_|PODMAN_|LD_|XDG_|GO|DBUS_|LISTEN_|NOTIFY_SOCKET|SSL_CERT_|SSH_|"
    r"_CONTAINERS|LC_|LANG|GLIBC_|MALLOC_)",
)
"""Beginnings of variables that podman, or what it starts, would heed itself."""

#: Memory that a container has for files in /tmp and the like.
_SCRATCH: Final = "256m"
_SCRATCHES: Final = ("/tmp", "/var/tmp")  # noqa: S108  # of the container

_UNMOUNTABLE: Final = re.compile(r"[\x00-\x1f\x7f,\"\\]")


@dataclass(frozen=True, slots=True)
class Mount:
    """A place of the machine, and where it lies in the container."""

    source: Path
    target: Path
    writable: bool


@dataclass(frozen=True, slots=True)
class Container:
    """What is run of an image. ``agent``: whose it is, see :data:`LABEL_AGENT`."""

    image: str
    agent: str
    mounts: tuple[Mount, ...] = ()


@dataclass(frozen=True, slots=True)
class Here:
    """What of this machine counts. ``controllers``: of cgroups, those that podman may use; ``most``: hard
    limits of this process, by the kernel's names; ``counts``: processes are counted per user namespace.
    """

    uid: int
    gid: int
    rootless: bool
    controllers: frozenset[str] = frozenset()
    most: Mapping[str, int] | None = None
    counts: bool = True
    by: str = ""
    oom_score: int = 0


def unmountable(path: Path) -> bool:
    """Whether podman's words cannot name a place."""
    return _UNMOUNTABLE.search(str(path)) is not None


def words(
    podman: str,
    container: Container,
    here: Here,
    *,
    server: str,
    name: str,
    command: Sequence[str],
    env: Mapping[str, str],
    folder: Path,
    network: bool,
    limits: Limits,
) -> list[str]:
    """``env``: what the server declares. No value of it is among the words, unless :func:`in_words`."""
    return [
        podman,
        "run",
        *_way(container, here, server, name),
        *_closed(here, network),
        *_limits(limits, here),
        f"--mount=type=bind,source={folder},target={HOME},relabel=private",
        *(
            f"--mount=type=bind,source={each.source},target={each.target}"
            + ("" if each.writable else ",readonly")
            for each in container.mounts
        ),
        *(f"--env={word}" for word in _variables(env)),
        container.image,
        *command,
    ]


def environment(own: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    """Podman's: its own, and the values that its words only name."""
    passed = {name: value for name, value in env.items() if not in_words(name)}
    return {**passed, **of_podman(own)}


def of_podman(agent: Mapping[str, str]) -> dict[str, str]:
    """What podman gets of the agent's environment."""
    return {name: agent[name] for name in OWN if name in agent}


def in_words(name: str) -> bool:
    """Whether a variable would mean something to podman itself, so that its value must stand in its words,
    where everybody on the machine can read it: no secret may.
    """
    return name in OWN or _HEEDED.match(name) is not None


def _way(container: Container, here: Here, server: str, name: str) -> Iterator[str]:
    yield from ("--rm", "--interactive", "--pull=never", "--log-driver=none", f"--name={name}")
    yield f"--label={LABEL_AGENT}={container.agent}"
    yield f"--label={LABEL_SERVER}={server}"
    yield f"--label={LABEL_BY}={here.by}"


def _closed(here: Here, network: bool) -> Iterator[str]:
    yield f"--network={'host' if network else 'none'}"
    # The agent's own number in both worlds, so that what it writes is the agent's.
    if here.rootless:
        yield "--userns=keep-id"
    yield f"--user={here.uid}:{here.gid}"
    yield from ("--cap-drop=all", "--security-opt=no-new-privileges", f"--oom-score-adj={here.oom_score}")
    yield from ("--read-only", "--read-only-tmpfs=false", "--image-volume=tmpfs")
    for place in _SCRATCHES:
        yield f"--tmpfs={place}:rw,nosuid,nodev,notmpcopyup,mode=1777,size={_SCRATCH}"
    # Podman passes the proxy of its own environment otherwise.
    yield "--http-proxy=false"


def _limits(limits: Limits, here: Here) -> Iterator[str]:
    if limits.memory is not None and "memory" in here.controllers:
        yield f"--memory={limits.memory}"
        # Otherwise what is above the limit would only move there.
        yield f"--memory-swap={limits.memory}"
    if "pids" in here.controllers:
        # 0 or less: none, where podman would set one of its own.
        yield f"--pids-limit={limits.processes or -1}"
    processes = limits.processes
    if processes is not None and not here.counts:
        processes = max(processes, SHARED_PROCESSES)
    for name, limit in (
        ("core", 0),
        ("data", limits.memory),
        ("nofile", limits.files),
        ("nproc", processes),
        ("cpu", limits.cpu_seconds),
        ("fsize", limits.file_size),
    ):
        hard = (here.most or {}).get(name)
        value = hard if limit is None else limit if hard is None else min(limit, hard)
        if value is not None:
            yield f"--ulimit={name}={value}:{value}"


def _variables(env: Mapping[str, str]) -> Iterator[str]:
    if "HOME" not in env:
        yield f"HOME={HOME}"
    for name, value in env.items():
        yield f"{name}={value}" if in_words(name) else name
