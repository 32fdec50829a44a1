"""The two units of a server, and what may not stand in them. What is on the disk comes in as values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from penstock_agent.adding.secretwords import is_secret
from penstock_agent.children.environment import OFFLINE, clean_environment
from penstock_agent.children.references import credential_of, file_of
from penstock_agent.children.units.spec import CREDENTIAL, socket_of, unit, user
from penstock_agent.problem import Exit, Problem
from penstock_agent.server_settings import ServerSettings
from penstock_agent.servers import unit_settings


@dataclass(frozen=True, slots=True)
class Site:
    """What of the machine stands in a unit. ``agent``: the user that may connect; ``python``: an interpreter,
    and ``program`` the path of ``unit_main.py``; ``closed``: folders of the agent that no server may see;
    ``programs``: where the command and the interpreter lie, as far as the sandbox would hide it; ``empty``:
    folders that are shown empty; ``groups``: of ``read`` and ``write``; ``credentials``: lines of the agent's
    unit that load a credential, by its name.
    """

    agent: str
    python: str
    program: str
    token: Path
    state_dir: Path
    closed: Sequence[str] = ()
    programs: Sequence[str] = ()
    empty: Sequence[str] = ()
    groups: Sequence[str] = ()
    credentials: Mapping[str, str] | None = None
    connections: int = 64


_SANDBOX: Final = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
PrivateUsers=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictNamespaces=yes
ProtectSystem=strict
PrivateTmp=yes
PrivateMounts=yes
PrivateDevices=yes
RemoveIPC=yes
PrivateIPC=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
"""
#: What ``ProtectHome`` is about.
HOMES: Final = ("/home", "/root", "/run/user")
_WORD: Final = re.compile(r"[A-Za-z0-9_./:=@,+-]+")


def socket_unit(name: str, site: Site) -> str:
    """``penstock-server-NAME.socket``."""
    return f"""\
# Written by penstock-agent servers harden {name}, which also replaces and removes it.
[Unit]
Description=Penstock: connections to the MCP server {name}

[Socket]
ListenStream={socket_of(name)}
SocketUser={site.agent}
SocketMode=0600
DirectoryMode=0755
# Each connection is an instance of its own.
Accept=yes
MaxConnections={site.connections}
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
"""


def service_unit(name: str, server: ServerSettings, site: Site) -> str:
    """``penstock-server-NAME@.service``. Raises Problem for what a unit may not hold."""
    return "".join(f"{line}\n" for line in _service(name, server, site))


def _service(name: str, server: ServerSettings, site: Site) -> Iterator[str]:
    folder = Path("/var/lib", unit(name))
    network, reach = server.online, server.reach
    declared, secret = _variables(name, server, site)
    env = clean_environment(folder, declared if network else {**OFFLINE, **declared}, {})
    yield f"# Written by penstock-agent servers harden {name}, which also replaces and removes it."
    yield "# Settings that are to stay belong into a drop-in."
    yield "[Unit]"
    yield f"Description=Penstock: MCP server {name}, connection %i"
    # An instance that failed leaves its lines in the journal, and nothing else.
    yield "CollectMode=inactive-or-failed"
    yield ""
    yield "[Service]"
    words = [site.python, "-I", "-S", site.program, unit_settings(server)]
    if reach is not None and reach.ports:
        words.append(f"--tcp={','.join(map(str, reach.ports))}")
    if reach is not None and reach.probe:
        words.append(f"--deny={reach.probe}")
    words += server.command
    yield f"ExecStart=:{' '.join(map(quoted, words))}"
    yield "StandardInput=socket"
    yield "StandardOutput=socket"
    yield "StandardError=journal"
    yield f"SyslogIdentifier={unit(name)}"
    yield "DynamicUser=yes"
    # One user for all instances, which share the folder.
    yield f"User={user(name)}"
    if site.groups:
        yield f"SupplementaryGroups={' '.join(site.groups)}"
    yield "UMask=0077"
    yield f"StateDirectory={unit(name)}"
    yield "StateDirectoryMode=0700"
    yield f"WorkingDirectory={folder}"
    for variable, value in env.items():
        yield f"Environment={quoted(f'{variable}={value}')}"
    yield f"LoadCredential=token:{_plain(site.token)}"
    yield from secret
    yield "KillMode=control-group"
    yield "TimeoutStopSec=5"
    yield ""
    yield from _limits(server)
    yield ""
    yield from _SANDBOX.splitlines()
    bound = [*site.programs, *map(str, (*server.read, *server.write))]
    in_homes = any(Path(each).is_relative_to(home) for each in bound for home in HOMES)
    # Only where something is bound into them: systemd can do that in empty folders, and not in closed ones.
    yield f"ProtectHome={'tmpfs' if in_homes else 'yes'}"
    if network:
        yield "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK"
        if reach is not None:
            yield "IPAddressDeny=any"
            yield f"IPAddressAllow={' '.join(reach.networks)}"
            # systemd 252 does not count these to @system-service.
            yield "SystemCallFilter=landlock_create_ruleset landlock_add_rule landlock_restrict_self"
    else:
        yield "PrivateNetwork=yes"
        # By the second, programs ask the kernel for addresses: node fails without it.
        yield "RestrictAddressFamilies=AF_UNIX AF_NETLINK"
        yield "IPAddressDeny=any"
    for each in site.empty:
        yield f"TemporaryFileSystem={_plain(each)}:ro"
    yield f"TemporaryFileSystem={_plain(site.state_dir)}:ro"
    for each in site.closed:
        yield f"InaccessiblePaths=-{_plain(each)}"
    for each in dict.fromkeys((*site.programs, *map(str, server.read))):
        yield f"BindReadOnlyPaths={_plain(each)}"
    for each in map(str, server.write):
        yield f"BindPaths={_plain(each)}"


def _limits(server: ServerSettings) -> Iterator[str]:
    limits = server.limits
    yield f"MemoryMax={_number(limits.memory)}"
    # Otherwise what is above the limit would only move there.
    yield "MemorySwapMax=0"
    yield f"TasksMax={_number(limits.processes)}"
    yield "LimitCORE=0"
    for key, value in (
        ("LimitNOFILE", limits.files),
        ("LimitCPU", limits.cpu_seconds),
        ("LimitFSIZE", limits.file_size),
    ):
        if value is not None:
            yield f"{key}={value}"
    yield "OOMScoreAdjust=500"


def _variables(name: str, server: ServerSettings, site: Site) -> tuple[dict[str, str], list[str]]:
    """Variables that may stand in a unit, which everybody may read, and lines that load the others."""
    plain: dict[str, str] = {}
    lines: list[str] = []
    for variable, value in server.env.items():
        path, credential = file_of(value), credential_of(value)
        if path is None and credential is None:
            if is_secret(variable, value):
                raise Problem(
                    f"{variable} of {name} looks like a secret, and everybody on this machine may read what "
                    f'stands in a unit. Write it into a file (0600), and in env: {variable} = "file:/path"',
                    Exit.USAGE,
                )
            plain[variable] = value
            continue
        if not CREDENTIAL.fullmatch(f"env.{variable}"):
            raise Problem(
                f"{variable!r} of {name} names a secret and cannot be the name of a credential. Use letters, "
                "digits and _.",
                Exit.USAGE,
            )
        if path is not None:
            lines.append(f"LoadCredential=env.{variable}:{_plain(path)}")
            continue
        known = (site.credentials or {}).get(credential or "")
        if known is None:
            raise Problem(
                f"{variable} of {name} names the credential {credential}, and the agent's unit loads none "
                f"that is called so. Add LoadCredential={credential}:/path to it: "
                "systemctl edit penstock-agent",
                Exit.USAGE,
            )
        # "LoadCredential=" or "LoadCredentialEncrypted=", and where it lies.
        key, _, place = known.partition("=")
        lines.append(f"{key}=env.{variable}:{place}")
    return plain, lines


def credentials(text: str) -> dict[str, str]:
    """Credentials that a unit loads, as ``KEY=PLACE`` by name. ``text``: of ``systemctl cat``."""
    found = re.findall(r"^(LoadCredential(?:Encrypted)?)=([A-Za-z0-9_.-]+):(/.*)$", text, re.MULTILINE)
    return {name: f"{key}={place.strip()}" for key, name, place in found}


def _number(value: int | None) -> str:
    return "infinity" if value is None else str(value)


def quoted(word: str) -> str:
    """A word of a unit's command line or environment, where it means nothing but itself."""
    if _WORD.fullmatch(word):
        return word
    found = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    for character, escape in (("\n", "\\n"), ("\t", "\\t"), ("\r", "\\r")):
        found = found.replace(character, escape)
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in found):
        raise Problem("A control character stands in command or env, which no unit can hold.", Exit.USAGE)
    return f'"{found}"'


def _plain(path: Path | str) -> str:
    """A path where systemd takes several, with options behind a colon."""
    text = str(path)
    if not re.fullmatch(r"[^\s\"'\\:\x00-\x1f\x7f]+", text):
        raise Problem(
            f"{text!r} cannot stand in a unit: it has a blank, a colon or a quote in it. Give the place "
            "another name, or a link to it.",
            Exit.USAGE,
        )
    return text.replace("%", "%%")
