"""Which places of the machine a child needs to see to run at all.

Nothing is granted that is not named here: above all not /home, /root, /var, /run, /tmp, nor /etc as a whole.
"""

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

SYSTEM: Final = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store", "/gnu/store",
    "/sys/devices/system/cpu", "/sys/fs/cgroup", "/sys/kernel/mm/transparent_hugepage",
    *(
        f"/proc/{name}"
        for name in (
            "self", "cgroups", "cpuinfo", "filesystems", "loadavg", "meminfo", "stat", "sys", "uptime",
            "version", "vmstat",
        )
    ),
    *(
        f"/etc/{name}"
        for name in (
            "alternatives", "bash.bashrc", "bindresvport.blacklist", "ca-certificates",
            "ca-certificates.conf", "crypto-policies", "debian_version", "fonts", "gai.conf", "ghostscript",
            "gitconfig", "gnutls", "group", "host.conf", "hosts", "ImageMagick-6", "ImageMagick-7",
            "inputrc", "krb5.conf", "krb5.conf.d", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
            "locale.alias", "locale.conf", "localtime", "lsb-release", "magic", "magic.mime", "mailcap",
            "mime.types", "networks", "npmrc", "nsswitch.conf", "odbcinst.ini", "openssl", "os-release",
            "papersize", "passwd", "perl", "pip.conf", "pki", "profile", "protocols", "python3",
            "python3.11", "python3.12", "python3.13", "redhat-release", "resolv.conf", "rpc", "services",
            "shells", "ssl", "terminfo", "timezone", "uv", "xattr.conf", "xdg",
        )
    ),
)  # fmt: skip
"""To read and execute. Many programs do without a file that is not there, and stop at one that is forbidden:
so what they look for in /etc stands here, but nothing that may hold a password.
"""

RESOLVING: Final = ("/run/systemd/resolve", "/run/NetworkManager", "/run/resolvconf", "/run/nscd")
"""With a network: where /etc/resolv.conf may lead."""

DEVICES: Final = tuple(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom"))

_HOPS: Final = 8
"""Links, and interpreters of interpreters, that are followed."""
_BROAD: Final = frozenset(
    ("/", "/etc", "/home", "/media", "/mnt", "/root", "/run", "/srv", "/tmp", "/var", "/var/tmp")  # noqa: S108
)
_BESIDE_BIN: Final = ("bin", "sbin", "lib", "lib64", "libexec", "ssl", "pyvenv.cfg", "conda-meta")
_PROJECT: Final = ("package.json", "pyproject.toml")
_ABOVE: Final = 4
"""Folders upwards in which a project is looked for."""
_INTERPRETERS: Final = (
    "python",
    "pypy",
    "node",
    "nodejs",
    "deno",
    "bun",
    "perl",
    "ruby",
    "php",
    "bash",
    "sh",
)


def around(path: str, hidden: Sequence[str]) -> Iterator[str]:
    """``path``, or what it holds as far as nothing in it is hidden: a rule can only grant, with all below."""
    if any(_within(path, each) for each in hidden):
        return
    if not any(_within(each, path) for each in hidden):
        yield path
        return
    try:
        names = os.listdir(path)
    except OSError:
        return
    for name in names:
        yield from around(os.path.join(path, name), hidden)


def of_command(
    command: Sequence[str], env: Mapping[str, str], home: str, writable: Sequence[str] = ()
) -> list[str]:
    """Where the program of a command lies, and what it needs from there: the interpreter of a script, and the
    script where the command starts an interpreter. Looks at the disk.

    ``home`` is the agent's own. Programs in ``writable`` folders are not followed: the child could put a link
    there, and choose what it sees after its next start.
    """
    search = _Search(env.get("PATH", ""), home, writable)
    if (program := which(command[0], search.path)) is not None:
        search.follow(program)
    if os.path.basename(command[0]).rstrip("0123456789.") in _INTERPRETERS:
        script = next((each for each in command[1:] if not each.startswith("-")), "")
        if script.startswith("/") and os.path.isfile(script):
            search.follow(script)
    return list(search.found)


def which(command: str, path: str) -> str | None:
    """Where a command is found, as the launcher finds it."""
    if "/" in command:
        return command if command.startswith("/") else None
    for place in path.split(":"):
        candidate = f"{place}/{command}"
        if place.startswith("/") and os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    return None


@dataclass(slots=True)
class _Search:
    path: str
    home: str
    writable: Sequence[str]
    found: dict[str, None] = field(default_factory=dict)

    def follow(self, program: str, hops: int = _HOPS) -> None:
        """Over links to the file itself, and on to its interpreter."""
        while hops and not any(_within(program, folder) for folder in self.writable):
            self.found.update(dict.fromkeys(_location(program, self.home)))
            hops -= 1
            if os.path.islink(program):
                folder = os.path.realpath(os.path.dirname(program))
                program = os.path.normpath(os.path.join(folder, os.readlink(program)))
            elif (interpreter := _interpreter(program, self.path)) is not None:
                program = interpreter
            else:
                return


def _location(program: str, home: str) -> Iterator[str]:
    """What belongs to a program: of an installation (``X/bin``) its parts, else its folder or project."""
    folder = os.path.dirname(program)
    packages, found, _ = folder.partition("/node_modules")
    if found:
        # What a package needs lies beside it.
        yield packages + found
        return
    above = os.path.dirname(folder)
    if os.path.basename(folder) in ("bin", "sbin"):
        names = _BESIDE_BIN if above.endswith("/.local") else (*_BESIDE_BIN, "share")
        yield from (place for name in names if os.path.exists(place := os.path.join(above, name)))
        return
    project = folder
    for _ in range(_ABOVE):
        if _broad(project, home):
            break
        if any(os.path.exists(os.path.join(project, name)) for name in _PROJECT):
            yield project
            return
        project = os.path.dirname(project)
    yield program if _broad(folder, home) else folder


def _broad(folder: str, home: str) -> bool:
    """A folder that holds much else than one program."""
    return folder in _BROAD or folder == home or os.path.dirname(folder) == "/home"


def _interpreter(program: str, path: str) -> str | None:
    try:
        with open(program, "rb") as file:
            line = file.readline(512)
    except OSError:
        return None
    if not line.startswith(b"#!"):
        return None
    try:
        words = shlex.split(os.fsdecode(line[2:]))
    except ValueError:
        return None
    if words and os.path.basename(words[0]) == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return which(words[0], path) if words else None


def _within(path: str, folder: str) -> bool:
    return Path(path).is_relative_to(folder)


def _led_by(path: str, changing: Sequence[str]) -> str | None:
    """The first link on a way that lies in one of these folders."""
    folders = [os.path.realpath(each) for each in changing]
    for each in (*reversed(Path(path).parents), Path(path)):
        above = os.path.realpath(each.parent)
        if each.is_symlink() and any(_within(above, folder) for folder in folders):
            return str(each)
    return None


def refused(path: str, hidden: Sequence[str], changing: Sequence[str] = ()) -> str:
    """Why a place that the settings name may not be granted, in words; empty when it may.

    ``changing``: folders in which servers may put whatever they like, links to elsewhere included.
    """
    if (link := _led_by(path, changing)) is not None:
        return (
            f"and {link} on the way there is a link in a folder that a server may write: it could lead "
            "anywhere after that server's next change. Name the place to which it leads, or remove it."
        )
    real = os.path.realpath(path)
    for each in hidden:
        if _within(real, each):
            return f"which is the agent's own ({each}). No server may see it; remove it."
        if _within(each, real):
            return (
                f"which contains what is the agent's own ({each}). No server may see that; name the folders "
                "that are meant one by one."
            )
    return ""
