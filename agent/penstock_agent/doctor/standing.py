"""What the running agent says of itself, as findings. Pure but for what it is given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from penstock_agent.children.confinement.kernel import Kernel
from penstock_agent.children.confinement.plan import FILTER_MISSING, LANDLOCK_MISSING, CannotConfine
from penstock_agent.children.containers.podman import Podman
from penstock_agent.control import Approvals, Status
from penstock_agent.doctor.findings import Finding, failed, ok, warning
from penstock_agent.problem import printable
from penstock_agent.server_settings import ServerSettings
from penstock_agent.servers import confinement

_NAMED: Final = 5


def agent(running: Status, version: str) -> Iterator[Finding]:
    """Link, renewal, ledger, and what is withheld."""
    if running.version == version:
        yield ok("agent", f"runs (version {printable(version, 40)}, process {running.pid})")
    else:
        yield warning(
            "agent",
            f"The running agent is version {printable(running.version, 40)}, and this command "
            f"{version}. Restart "
            "it: systemctl restart penstock-agent",
        )
    if running.linked:
        yield ok("link", f"up, public address {printable(running.public_url, 200)}")
    else:
        yield failed("link", f"down: {printable(running.problem or 'it is being made; try again.', 1000)}")
    if running.renewal_problem:
        yield warning(
            "certificate",
            f"The last renewal failed, and is tried again: {printable(running.renewal_problem, 1000)}",
        )
    if running.ledger.problem:
        yield failed(
            "ledger",
            f"It cannot be written: {printable(running.ledger.problem, 300)}. New calls are refused. "
            "Make room on "
            "the disk or mend it; the agent tries again each minute.",
        )
    if running.ledger.warning:
        yield warning("ledger", printable(running.ledger.warning, 1000))
    for name, items in running.withheld.items():
        named = ", ".join(printable(item, 80) for item in items[:_NAMED])
        more = ", ..." if len(items) > _NAMED else ""
        yield warning(
            "tools",
            f"{len(items)} exposed and withheld, as not approved: {named}{more}. See: "
            "penstock-agent tools "
            f"review {name}",
            name,
        )


def approvals(waiting: Approvals) -> Finding | None:
    """Calls that wait for somebody on site; None where none does."""
    count = sum(each.state == "waiting" for each in waiting.requests)
    if not count:
        return None
    what = "1 call waits" if count == 1 else f"{count} calls wait"
    return warning("approvals", f"{what} for approval. See: penstock-agent approvals list")


def known(running: Status, servers: Mapping[str, ServerSettings]) -> Iterator[Finding]:
    """Whether the running agent goes by what the file says."""
    there = {each.name: tuple(each.expose) for each in running.servers}
    here = {name: server.expose for name, server in servers.items()}
    if there != here:
        differs = sorted(name for name in {*there, *here} if there.get(name) != here.get(name))
        yield warning(
            "settings",
            f"The running agent does not go by the file yet ({', '.join(differs[:_NAMED])}). Run: "
            "systemctl reload "
            "penstock-agent; if it stays so, its log says why.",
        )


def machine(kernel: Kernel, *, unit: bool) -> Finding:
    """What there is here to confine servers with. ``unit``: the agent runs, perhaps under other rules."""
    missing = []
    if not kernel.landlock:
        missing.append(f"no Landlock: {LANDLOCK_MISSING}")
    if not kernel.filters:
        missing.append(f"no filter of system calls: {FILTER_MISSING}")
    if not kernel.namespaces:
        missing.append(
            "no user namespaces: processes of servers are counted with the agent's own (sysctl "
            "kernel.unprivileged_userns_clone or user.max_user_namespaces; RestrictNamespaces=user in a unit)"
        )
    where = "in this shell; the running agent's own word is below" if unit else "in this shell"
    if missing:
        return warning("kernel", f"{where}: {'; '.join(missing)}.")
    networks = ", network namespaces" if kernel.networks else ""
    return ok(
        "kernel", f"Landlock (ABI {kernel.landlock}), filters of system calls, user namespaces{networks}"
    )


def podman(found: Podman, *, unit: bool) -> Finding:
    """What runs images. ``unit``: the agent runs, perhaps under other rules."""
    where = " (in this shell; the agent's service may have other rights)" if unit else ""
    text = f"version {printable(found.version, 40)}{where}"
    if not found.rootless:
        return warning(
            "podman",
            f"{text}: run by root, so whoever gets out of a container is root. Run the agent as a user of "
            "its own.",
        )
    if not found.bounded:
        return warning(
            "podman",
            f"{text}, rootless, and may use no cgroups for memory and processes: limits hold for a process "
            "as elsewhere, and not for it as a whole. It needs cgroups v2 that are delegated "
            "to the user (Delegate=yes in the agent's unit, or a login session).",
        )
    return ok("podman", f"{text}, rootless, with limits for a container as a whole")


def image(name: str, reference: str, here: bool) -> Finding:
    """Whether what a server runs is on this machine."""
    if here:
        return ok("image", f"{reference} is on this machine", name)
    return failed(
        "image", f"{reference} is not on this machine. Run: penstock-agent servers prepare {name}", name
    )


def confined(name: str, server: ServerSettings, kernel: Kernel, running: Status | None) -> Finding | None:
    """How far a server is confined: as the running agent says, else as it would be here. None with a url."""
    if server.url is not None:
        return None
    said = {each.name: each for each in running.servers}.get(name) if running is not None else None
    if said is not None and said.isolation:
        level, network = said.isolation, said.network
    else:
        try:
            level, network = confinement(server, ()).words(kernel)
        except CannotConfine as error:
            return failed("confinement", str(error), name)
    text = f"isolation {level}, network {network}"
    if server.image is not None:
        return ok("confinement", f"{text}, image {server.image}", name)
    if not level.startswith("process"):
        return ok("confinement", text, name)
    if server.isolation is None:
        return warning("confinement", f"{text} only: {LANDLOCK_MISSING}.", name)
    return warning(
        "confinement",
        f"{text}, as agent.toml says: it can read whatever the agent's user can, the agent's key "
        "included. Write "
        'isolation = "landlock", or leave the line out.',
        name,
    )
