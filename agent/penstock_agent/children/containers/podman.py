"""Asking podman. Each question takes a while, and is bounded: not for the loop's thread."""

import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from penstock_agent.children.confinement.plan import CannotConfine
from penstock_agent.children.containers.image import find
from penstock_agent.children.containers.run import LABEL_AGENT, LABEL_BY, of_podman

ASK_S: Final = 20.0
"""How long podman may take for an answer."""
PULL_S: Final = 900.0
"""How long it may take to fetch an image."""
_SAID: Final = 300
_IDS: Final = 1000
"""So many users are in most images."""


class PodmanError(CannotConfine):
    """Podman cannot be had, or cannot do it; the text names the cause and the next step."""


@dataclass(frozen=True, slots=True)
class Podman:
    """``controllers``: of cgroups, those that it may set limits with."""

    program: str
    version: str
    rootless: bool
    controllers: frozenset[str]

    @property
    def bounded(self) -> bool:
        """Whether memory and processes can be limited for a container as a whole."""
        return {"memory", "pids"} <= self.controllers


_known: dict[str, Podman] = {}


def program(agent: Mapping[str, str]) -> str:
    """Where it is. ``agent``: the agent's environment. Raises PodmanError."""
    found = shutil.which("podman", path=agent.get("PATH"))
    if found is None:
        raise PodmanError(
            "an image is run by podman, and there is none in PATH. Install it (apt-get install podman)"
        )
    return found


def own(agent: Mapping[str, str]) -> dict[str, str]:
    """What podman gets of the agent's environment, as this user. A command that root calls acts as the user
    of the agent, with root's environment: podman would look for its images in root's folders.
    """
    found = of_podman(agent)
    user = os.geteuid()
    if not _owned(found.get("HOME", ""), user):
        try:
            found["HOME"] = pwd.getpwuid(user).pw_dir
        except KeyError:
            found.pop("HOME", None)
    if not _owned(found.get("XDG_RUNTIME_DIR", ""), user):
        found.pop("XDG_RUNTIME_DIR", None)
        if _owned(place := f"/run/user/{user}", user):
            found["XDG_RUNTIME_DIR"] = place
    return found


def _owned(path: str, user: int) -> bool:
    try:
        return os.stat(path).st_uid == user
    except OSError:
        return False


def look(agent: Mapping[str, str], *, again: bool = False) -> Podman:
    """What there is; asked once for each program. Raises PodmanError."""
    path = program(agent)
    if not again and path in _known:
        return _known[path]
    said = _ask([path, "info", "--format", "json"], agent)
    try:
        found = _parsed(path, said)
    except PodmanError:
        raise
    except (KeyError, TypeError, ValueError):
        raise PodmanError(
            "podman info says something else than expected. Podman 4.3 or newer is needed. See: podman "
            "version"
        ) from None
    _known[path] = found
    return found


def _parsed(path: str, said: str) -> Podman:
    info = json.loads(said)
    host = info["host"]
    rootless = bool(host["security"]["rootless"])
    if rootless:
        ids = [
            sum(int(each["size"]) for each in host["idMappings"][kind] or ()) for kind in ("uidmap", "gidmap")
        ]
        if min(ids) < _IDS:
            user = _user()
            raise PodmanError(
                f"the user {user} has no numbers for the users of a container. Give it some: sudo usermod "
                f"--add-subuids 100000-165535 --add-subgids 100000-165535 {user} (a range that nobody else "
                "has in /etc/subuid and /etc/subgid), then, as that user: podman system migrate"
            )
    return Podman(path, str(info["version"]["Version"]), rootless, frozenset(host["cgroupControllers"] or ()))


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def has(image: str, agent: Mapping[str, str]) -> bool:
    """Whether an image is here. Raises PodmanError."""
    done = _run([program(agent), "image", "exists", image], agent, ASK_S)
    if done.returncode not in (0, 1):
        raise PodmanError(f"podman image exists failed: {_last(done)}")
    return done.returncode == 0


def pull(image: str, agent: Mapping[str, str]) -> None:
    """Fetch an image, with the network. Raises PodmanError."""
    done = _run([program(agent), "pull", "--quiet", image], agent, PULL_S)
    if done.returncode:
        raise PodmanError(f"podman pull {image} failed: {_last(done)}. Run it by hand to see more.")


def fixed(image: str, agent: Mapping[str, str]) -> str:
    """An image that is here, at its digest. Raises PodmanError."""
    wanted = '{{range .RepoDigests}}{{.}}{{"\\n"}}{{end}}'
    done = _run([program(agent), "image", "inspect", "--format", wanted, image], agent, ASK_S)
    found = done.stdout.split() if done.returncode == 0 else []
    if not found:
        raise PodmanError(
            f"{image} is not on this machine. This fetches it and prints its digest: {find(image)}"
        )
    return found[0]


def sweep(owner: str, agent: Mapping[str, str], alive: Mapping[str, bool] | None = None) -> list[str]:
    """Remove the containers of an agent that ended without doing so; their names. Those of a process that
    still runs stay. Raises PodmanError.
    """
    path = program(agent)
    said = _ask([path, "ps", "--all", "--filter", f"label={LABEL_AGENT}={owner}", "--format", "json"], agent)
    try:
        found = [
            (str(each["Names"][0]), str((each["Labels"] or {}).get(LABEL_BY, "")))
            for each in json.loads(said) or ()
        ]
    except (KeyError, IndexError, TypeError, ValueError):
        raise PodmanError("podman ps says something else than expected. See: podman version") from None
    left = [name for name, by in found if not (alive[by] if alive and by in alive else _runs(by))]
    if left:
        _ask([path, "rm", "--force", "--time", "0", "--volumes", "--ignore", *left], agent)
    return left


def this_process() -> str:
    """By which a later process knows whether this one still runs."""
    return f"{os.getpid()}-{_started(os.getpid())}"


def _runs(by: str) -> bool:
    pid, _, started = by.partition("-")
    return pid.isdigit() and _started(int(pid)) == started != ""


def _started(pid: int) -> str:
    """When a process was started, in ticks since the machine was; empty when it does not run."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if words[0] in "ZX" else words[19]


def _ask(command: Sequence[str], agent: Mapping[str, str]) -> str:
    done = _run(command, agent, ASK_S)
    if done.returncode:
        raise PodmanError(f"podman {command[1]} failed: {_last(done)}. Run it by hand as the agent's user.")
    return done.stdout


def _run(
    command: Sequence[str], agent: Mapping[str, str], seconds: float
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            cwd="/",
            # Whoever fetches goes the way that the machine goes.
            env={**own(agent), **{n: v for n, v in agent.items() if n.lower().endswith("_proxy")}},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PodmanError(
            f"podman {command[1]} did not end within {seconds:g} s. Run it by hand as the agent's user."
        ) from None
    except OSError as error:
        raise PodmanError(
            f"{command[0]} cannot be run: {error.strerror}. Check how it is installed."
        ) from None


def _last(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return (lines[-1] if lines else f"status {done.returncode}")[:_SAID].removeprefix("Error: ").rstrip(".")
