"""Why a server did not start or answer, as far as what it said on its standard error tells. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from penstock_agent.adding.packages import runner

_NETWORK: Final = re.compile(
    r"\b(?:EAI_AGAIN|ENOTFOUND|ENETUNREACH|ECONNREFUSED|ETIMEDOUT|getaddrinfo|gaierror|NewConnectionError|ConnectError"
    r"|ENOTCACHED)\b|[Dd][Nn][Ss] error|Temporary failure in name|Name or service not known"
    r"|Network is unreachable|[Ff]ailed to fetch|error sending request|Max retries exceeded"
    r"|fetch failed|request to https?://\S+ failed"
)
_SOCKET: Final = re.compile(r"\bsocket\b|connect E(?:ACCES|PERM)|bind E(?:ACCES|PERM)|listen E(?:ACCES|PERM)")
_NO_PACKAGE: Final = re.compile(
    r"npm (?:error|ERR!) (?:code )?E?404|is not in this registry|No matching distribution found|"
    r"was not found in the package registry|No solution found",
)
_CERTIFICATE: Final = re.compile(
    r"CERTIFICATE_VERIFY_FAILED|UnknownIssuer|self[- ]signed certificate|UNABLE_TO_(?:GET_ISSUER|VERIFY)\w*"
)
_PYTHON_MODULE: Final = re.compile(r"(?:ModuleNotFoundError|ImportError): No module named '?([\w.]+)")
_NODE_MODULE: Final = re.compile(r"Cannot find (?:module|package) '([^']+)'")
_DENIED: Final = re.compile(
    r"(?:EACCES|EPERM|PermissionError|[Pp]ermission denied|[Oo]peration not permitted|[Aa]ccess denied)"
)
_ABSENT: Final = re.compile(
    r"ENOENT|FileNotFoundError|[Nn]o such file or directory|does not exist|not a directory"
)
_PATH: Final = re.compile(r"""['"`(\s:=](/[^'"`\s:,)]+)""")
_VARIABLE: Final = (
    re.compile(r"KeyError: '([A-Z][A-Z0-9_]{2,})'"),
    re.compile(
        r"(?:env(?:ironment)?(?: variables?)?|variables?)[ :]+[`'\"]?([A-Z][A-Z0-9]*_[A-Z0-9_]+)",
        re.IGNORECASE,
    ),
    re.compile(
        r"[`'\"]?\b([A-Z][A-Z0-9]*_[A-Z0-9_]+)\b[`'\"]?[^.]{0,60}"
        r"(?:required|not set|missing|must be|undefined|not defined|not provided|unset|is empty)"
    ),
    re.compile(r"(?:[Mm]issing|[Rr]equires?|[Ss]et|[Pp]rovide)[^.]{0,40}\b([A-Z][A-Z0-9]*_[A-Z0-9_]+)\b"),
)
_SDK: Final = re.compile(
    r"object has no attribute '(?:list_\w+|call_tool)'|cannot import name '\w+' from 'mcp"
    r"|No module named 'mcp\.server\.fastmcp"
)
_OLD: Final = re.compile(
    r"Unsupported engine|requires? (?:a newer )?[Nn]ode|SyntaxError: Unexpected token|[Rr]equires-[Pp]ython"
)
_MEMORY: Final = re.compile(r"heap out of memory|OOM|MemoryError|Cannot allocate memory|ENOMEM")
_SPAWN: Final = re.compile(
    r"spawn (\S+) ENOENT|(?:exec|env): [\"‘']?([\w./-]+)[\"’']?: (?:executable file not found|No such file)"
    r"|(\S+): (?:command )?not found"
)


@dataclass(frozen=True, slots=True)
class Cause:
    """A sentence about the cause and one about the next step."""

    text: str
    step: str


def likely(
    name: str,
    command: Sequence[str],
    said: Sequence[str],
    *,
    offline: bool,
    exists: Callable[[str], bool] = lambda _: False,
) -> Cause | None:
    """The likely cause. ``said``: the server's last lines. ``exists``: whether a path is there for us."""
    text = "\n".join(said)
    fetches = runner(command)
    # Without a network, what is refused is the socket itself.
    refused = _DENIED.search(text) and _SOCKET.search(text) and _place(text) is None
    if offline and (fetches or refused or _NETWORK.search(text)):
        if fetches:
            return Cause(
                f"{fetches} fetches its package from a registry, and the server has no network.",
                f"Fetch it once, at a fixed version: penstock-agent servers prepare {name}",
            )
        return Cause(
            "It tried to use the network, and has none.",
            f'If it may: network = "host" in [servers.{name}].',
        )
    if _CERTIFICATE.search(text):
        return Cause(
            "It does not trust the certificate that it was shown, as behind a proxy that looks into TLS.",
            f"Name your authority's file in env of [servers.{name}]: SSL_CERT_FILE, for node "
            "NODE_EXTRA_CA_CERTS (and the file in read).",
        )
    if _NO_PACKAGE.search(text):
        return Cause("The registry has no such package or version.", "Correct its name in command.")
    if _SDK.search(text):
        return Cause(
            "It was written for another version of the MCP library than the one that it found.",
            "Name an older version of the library beside it (uvx --with 'mcp<2' …), or a newer server.",
        )
    if found := _PYTHON_MODULE.search(text) or _NODE_MODULE.search(text):
        return _module(name, found[1], exists)
    if (found := _variable(text)) is not None:
        return Cause(
            f"It wants the variable {found[1]}, which it does not find.",
            f'Add it to [servers.{name}]: env = {{ {found[1]} = "file:/path/to/a/file/with/it" }}',
        )
    if found := _SPAWN.search(text):
        program = next(filter(None, found.groups()))
        return Cause(
            f"It looked for the program {program} and did not find it: its PATH is short.",
            f"Write the absolute path in command, or PATH in env of [servers.{name}].",
        )
    if (where := _place(text)) is not None:
        denied, path = where
        if denied or exists(path):
            return Cause(
                f"It could not open {path}, which it may not see.",
                f'If it may: read = ["{path}"] in [servers.{name}] (write, if it must change it).',
            )
        return Cause(f"There is no {path}.", "Correct the path in command or env.")
    if _OLD.search(text):
        return Cause(
            "It was made for a newer Node or Python.", "Install it, or name an older version of the server."
        )
    if _MEMORY.search(text):
        return Cause("It ran out of memory.", f"Raise memory in [servers.{name}.limits].")
    if _NETWORK.search(text):
        return Cause(
            "It could not reach what it needs on the network.", "Check name resolution, proxy and firewall."
        )
    return None


def _variable(text: str) -> re.Match[str] | None:
    return next((found for pattern in _VARIABLE if (found := pattern.search(text))), None)


def _module(name: str, module: str, exists: Callable[[str], bool]) -> Cause:
    if module.startswith("/"):
        if exists(module):
            return Cause(
                f"It could not open {module}, which it may not see.",
                f'If it may: read = ["{module.rpartition("/")[0]}"] in [servers.{name}].',
            )
        return Cause(f"There is no {module}.", "Correct the path in command.")
    return Cause(
        f"Its module {module} is not found.",
        "Install it for the interpreter that command names, or name the interpreter that has it.",
    )


def _place(text: str) -> tuple[bool, str] | None:
    """Whether it was denied, and the path, of the last line that tells of one."""
    for line in reversed(text.splitlines()):
        denied = _DENIED.search(line) is not None
        if (denied or _ABSENT.search(line)) and (found := _PATH.search(f" {line}")):
            return denied, found[1].rstrip(".")
    return None
