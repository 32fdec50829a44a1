"""What a child may do, and the steps by which the launcher holds it to that."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from penstock_agent.children.confinement import bpf, places, rights
from penstock_agent.children.confinement.kernel import Kernel
from penstock_agent.children.confinement.limits import Limits

OOM_SCORE: Final = 500
"""Where memory runs out, the kernel ends children before anything else, the agent included."""

LANDLOCK_MISSING: Final = (
    "this kernel has no Landlock, or what confines the agent does not let it use it. It needs Linux 5.13 or "
    "newer with landlock in its list of security modules (lsm=), and in a systemd unit "
    "SystemCallFilter=landlock_create_ruleset landlock_add_rule landlock_restrict_self"
)
FILTER_MISSING: Final = "this kernel cannot filter system calls for the agent (seccomp, on x86_64 or aarch64)"


_DOWNLOADERS: Final = frozenset({"bunx", "npm", "npx", "pipx", "pnpm", "pnpx", "uv", "uvx", "yarn"})


DEFAULTS: Final = Limits()


class Level(StrEnum):
    """How far a child is confined. The agent enforces the first two, of which the second contains the first;
    systemd the third, and podman the last.
    """

    PROCESS = "process"
    LANDLOCK = "landlock"
    UNIT = "unit"
    CONTAINER = "container"

    @property
    def elsewhere(self) -> bool:
        """Whether somebody else than the agent enforces it."""
        return self in (Level.UNIT, Level.CONTAINER)


class CannotConfine(ValueError):
    """What the settings ask for cannot be had here; the text says what and what to do."""


@dataclass(frozen=True, slots=True)
class Confinement:
    """Of the children of one server. ``hidden``: what none of them may see, whatever else is granted."""

    level: Level = Level.PROCESS
    network: bool = True
    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    limits: Limits = DEFAULTS
    #: What any server may write: links in there must not say what this one may see.
    changing: tuple[Path, ...] = ()
    #: What was installed for it, in a folder that is hidden else: it may read that, and not change it.
    programs: tuple[Path, ...] = ()
    #: Of the network, only these addresses, as they are written; empty: all of it. Enforced elsewhere.
    reach: tuple[str, ...] = ()

    def words(self, kernel: Kernel) -> tuple[str, str]:
        """Its level and its network, as an administrator reads them."""
        level = f"landlock (ABI {kernel.landlock})" if self.level is Level.LANDLOCK else self.level.value
        if self.network:
            return level, ", ".join(self.reach) or "host"
        if self.level.elsewhere:
            return level, "none (network namespace)"
        return level, "none (seccomp, network namespace)" if kernel.networks else "none (seccomp)"


def likely(network: bool, command: Sequence[str]) -> str:
    """Why a child that ended at its start probably did, where that can be said; empty otherwise."""
    program = os.path.basename(command[0]) if command else ""
    if network or program not in _DOWNLOADERS:
        return ""
    return (
        f"{program} downloads what it runs, and this server has no network: fetch it once with "
        'penstock-agent servers prepare, or write network = "host" in its table.'
    )


def decide(
    asked: Level | None,
    kernel: Kernel,
    *,
    network: bool,
    read: Sequence[Path] = (),
    write: Sequence[Path] = (),
    hidden: Sequence[Path] = (),
    limits: Limits = DEFAULTS,
) -> Confinement:
    """The confinement that is to be had here. ``asked`` None: the best one. Raises CannotConfine."""
    if asked is Level.LANDLOCK and not kernel.landlock:
        raise CannotConfine(f'isolation = "landlock" cannot be had: {LANDLOCK_MISSING}. Or write "process".')
    if not network and not kernel.filters and not (asked and asked.elsewhere):
        raise CannotConfine(f'network = "none" cannot be had: {FILTER_MISSING}. Or write "host".')
    level = asked or (Level.LANDLOCK if kernel.landlock else Level.PROCESS)
    return Confinement(level, network, tuple(read), tuple(write), tuple(hidden), limits)


def steps(
    confinement: Confinement, kernel: Kernel, command: Sequence[str], env: Mapping[str, str], folder: Path
) -> list[str]:
    """What the launcher does, in this order, before it becomes the command: see ``launcher_main``.

    Looks at the disk. Raises CannotConfine for a place that may not be granted.
    """
    return list(_steps(confinement, kernel, command, env, str(folder)))


def _steps(
    confinement: Confinement, kernel: Kernel, command: Sequence[str], env: Mapping[str, str], folder: str
) -> Iterator[str]:
    landlock = confinement.level is Level.LANDLOCK
    # For root a user namespace counts nothing; it is made only for the network namespace in it.
    networks = kernel.networks and not confinement.network
    apart = kernel.namespaces and (kernel.counts or networks)
    if apart:
        yield f"namespace {int(networks)}"
    for resource, limit in confinement.limits.kernel(counted_apart=apart and kernel.counts):
        yield f"limit {resource} {limit}"
    yield f"oom {OOM_SCORE}"
    yield "no_new_privileges"
    if landlock or not confinement.network:
        yield "no_capabilities"
    if landlock:
        abi = kernel.landlock
        tcp = 0 if confinement.network else rights.tcp(abi)
        yield f"rules {rights.handled(abi)} {tcp} {rights.scopes(abi)}"
        for allowed, required, place in _granted(confinement, abi, command, env, folder):
            yield f"place {allowed & rights.handled(abi)} {required} {place}"
        yield "restrict"
    if kernel.filters and (landlock or not confinement.network):
        code = bpf.program(bpf.MACHINES[kernel.machine], network=confinement.network)
        yield f"filter {code.hex()}"


def _granted(
    confinement: Confinement, abi: int, command: Sequence[str], env: Mapping[str, str], folder: str
) -> Iterator[tuple[int, str, str]]:
    """Rights, the setting that names it (``-``: none, and it need not exist), and the place."""
    hidden = [os.path.realpath(path) for path in confinement.hidden]
    writable = [folder, *map(str, confinement.write)]
    found = list(places.SYSTEM)
    if confinement.network:
        found += places.RESOLVING
    found += places.of_command(command, env, os.path.expanduser("~"), writable)
    # /proc/self is another one here than it is there.
    real = dict.fromkeys(place if place == "/proc/self" else os.path.realpath(place) for place in found)
    for place in real:
        for each in places.around(place, hidden):
            yield rights.READ, "-", each
    for path in confinement.programs:
        yield rights.READ, "-", str(path)
    for device in places.DEVICES:
        yield rights.DEVICE, "-", device
    for setting, paths, allowed in (
        ("read", confinement.read, rights.READ),
        ("write", confinement.write, rights.READ | rights.write(abi)),
    ):
        for path in paths:
            if problem := places.refused(str(path), hidden, [*writable, *map(str, confinement.changing)]):
                raise CannotConfine(f"{setting} names {path}, {problem}")
            # The launcher follows no link: a child that runs could put one there between this and that.
            yield allowed, setting, os.path.realpath(path)
    yield rights.READ | rights.write(abi), "folder", folder
