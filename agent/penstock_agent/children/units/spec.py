"""What a server in a systemd unit of its own is, to whoever connects to it."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from penstock_agent.children.child import ChildSpec
from penstock_agent.children.confinement.limits import Limits
from penstock_agent.children.confinement.plan import Confinement, Level

SOCKETS: Final = Path("/run/penstock")
_USER_MAX: Final = 31
"""Characters of a user's name."""


@dataclass(frozen=True, slots=True)
class UnitSpec(ChildSpec):
    """``settings``: see :func:`digest`; an instance that was made from others refuses. ``token``: a file with
    what the unit asks for, so that another server's child, which has the agent's user, cannot use this one.
    """

    socket: Path
    settings: str
    token: Path = field(repr=False)
    confinement: Confinement = field(default_factory=lambda: Confinement(Level.UNIT), repr=False)


def digest(
    command: Sequence[str],
    env: Mapping[str, str],
    *,
    network: bool | Sequence[str],
    read: Iterable[Path],
    write: Iterable[Path],
    limits: Limits,
) -> str:
    """What the unit's text is made of, in 32 characters: the same as long as the unit need not change."""
    content = (list(command), sorted(env.items()), network, [*map(str, read)], [*map(str, write)], limits)
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:32]


def unit(server: str) -> str:
    """The name of its units, without what systemd puts behind it."""
    return f"penstock-server-{server}"


def socket_of(server: str) -> Path:
    """Where the unit of a server listens."""
    return SOCKETS / f"{server}.sock"


def token_file(state_dir: Path, server: str) -> Path:
    """What an instance wants to hear first."""
    return state_dir.absolute() / "units" / f"{server}.token"


def user(server: str) -> str:
    """The user that systemd makes for it: one for all instances, which share a state folder."""
    name = f"ps-{server}"
    if len(name) <= _USER_MAX:
        return name
    return f"{name[: _USER_MAX - 9]}-{hashlib.sha256(server.encode()).hexdigest()[:8]}"


def journal(server: str) -> str:
    """The command that shows what its instances said."""
    return f"journalctl -u '{unit(server)}@*' -n 50"


def harden(server: str) -> str:
    """The command that writes its units."""
    return f"sudo penstock-agent servers harden {server}"


#: What is a name of a credential, and so can be one of a secret variable.
CREDENTIAL: Final = re.compile(r"[A-Za-z0-9_.-]{1,200}")
