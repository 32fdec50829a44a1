"""What several servers answered to ``initialize``, as one answer. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from penstock import __version__
from penstock.envelope import members, text_member
from penstock.http import HANDSHAKE
from penstock_agent.gate.expose import Expose
from penstock_agent.site.names import SEPARATOR

NAME: Final = "penstock"
READ_FIRST: Final = 512
"""Characters of instructions that ChatGPT reads: each server has a part of them."""
MAX_INSTRUCTIONS: Final = 8192
"""Characters of one server's instructions."""
MAX_WHOLE: Final = 32 * 1024
"""Characters of the instructions altogether."""
_LEAST: Final = 24
_HEADING: Final = re.compile(r"((?:\A|[\n\r\v\f\x85\u2028\u2029])[ \t]*)(?=#)")

_NO: Final = (b"false", b"null")


@dataclass(frozen=True, slots=True)
class Greeted:
    """A server of the site. ``result``: its answer to ``initialize``, raw; None while it has given none."""

    name: str
    expose: Expose
    result: bytes | None


def version(servers: Sequence[Greeted]) -> str | None:
    """The oldest that a server has answered, which all of them can be understood in: what newer revisions of
    this era add, older clients leave out. None when nobody has answered.
    """
    found = [text_member(one.result, "protocolVersion") for one in servers if one.result is not None]
    known = [one for one in found if one in HANDSHAKE]
    return min(known) if known else None  # dates


def capabilities(servers: Sequence[Greeted], *, tools: bool = False) -> dict[str, dict[str, bool]]:
    """What one of them offers, all of them do. A server that is not up yet counts by what it exposes.

    ``tools``: the agent has one of its own. Lists always change: servers come and go. Capabilities that are
    not here need methods that are not passed on (tasks, extensions).
    """
    found: dict[str, dict[str, bool]] = {}
    if tools:
        found["tools"] = {"listChanged": True}
    for one in servers:
        offered = None if one.result is None else offers(one.result)
        exposed = {
            "tools": one.expose.tools,
            "prompts": one.expose.prompts,
            "resources": one.expose.resources,
        }
        for name, patterns in exposed.items():
            if patterns and (offered is None or name in offered):
                found.setdefault(name, {})["listChanged"] = True
        if offered is None:
            continue
        if one.expose.resources and "subscribe" in offered.get("resources", ()):
            found["resources"]["subscribe"] = True
        if "logging" in offered:
            found["logging"] = {}
        if "completions" in offered and (one.expose.prompts or one.expose.resources):
            found["completions"] = {}
    return found


def offers(result: bytes) -> Mapping[str, frozenset[str]]:
    """The capabilities in an answer to ``initialize``, and what each of them says yes to."""
    raw = (members(result) or {}).get("capabilities", msgspec.Raw())
    found: dict[str, frozenset[str]] = {}
    for name, value in (members(bytes(raw)) or {}).items():
        if bytes(value) in _NO:
            continue
        inner = members(bytes(value)) or {}
        found[name] = frozenset(key for key, one in inner.items() if bytes(one) not in _NO)
    return found


def instructions(own: str, servers: Sequence[tuple[str, str]]) -> str:
    """``own`` of the site, then what each server says, under its name.

    Where all of it is longer than what is read by everybody, the beginning of each comes first.
    """
    own = own.strip()
    names = ", ".join(name for name, _ in servers)
    head = own or (f"Several servers in one: tools are named SERVER{SEPARATOR}TOOL. Servers: {names}.")
    # What would be a heading is one below that of its server: it could name another server.
    said = [(name, _HEADING.sub(r"\1##", text.strip()[:MAX_INSTRUCTIONS])) for name, text in servers]
    said = [(name, text) for name, text in said if text]
    full = "\n\n".join([head, *(f"## {name}\n{text}" for name, text in said)])
    if len(full) > READ_FIRST and len(said) > 1:
        overhead = sum(len(name) + 4 for name, _ in said)
        share = max(_LEAST, (READ_FIRST - len(head) - overhead) // len(said))
        digest = "\n".join(f"{name}: {_cut(text, share)}" for name, text in said)
        full = "\n\n".join([head, digest, *(f"## {name}\n{text}" for name, text in said)])
    return full if len(full) <= MAX_WHOLE else full[: MAX_WHOLE - 1] + "…"


def greeting(
    agreed: str, name: str, own_instructions: str, servers: Sequence[Greeted], *, tools: bool = False
) -> bytes:
    """The result of ``initialize``, raw."""
    said = [
        (one.name, ("" if one.result is None else text_member(one.result, "instructions")) or "")
        for one in servers
    ]
    return msgspec.json.encode(
        {
            "protocolVersion": agreed,
            "capabilities": capabilities(servers, tools=tools),
            "serverInfo": {"name": name or NAME, "version": __version__},
            "instructions": instructions(own_instructions, said),
        }
    )


def _cut(text: str, length: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"
