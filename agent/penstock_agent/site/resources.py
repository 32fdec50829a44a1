"""Which server has a resource: what their lists have shown, within bounds. Pure.

URIs stay what the servers call them, so only their lists say whose a URI is, and templates whose it may be.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from penstock_agent.gate.expose import MAX_MATCHED

MAX_URIS: Final = 2000
"""URIs and templates of one server that are remembered; the oldest are forgotten."""
MAX_TEMPLATES: Final = 200
"""Templates of one server that URIs are compared with."""
MAX_TEMPLATE: Final = 512
"""Characters of one of them."""
AGAIN_S: Final = 30.0
"""A server's lists are not read again for so long, whatever is asked for."""

_VARIABLE: Final = re.compile(r"\{([^{}]*)\}")
_WIDE: Final = frozenset("+#/?&;.")


class Known:
    """What the lists of several servers have shown."""

    def __init__(self) -> None:
        self._uris: dict[str, dict[str, None]] = {}
        self._templates: dict[str, dict[str, re.Pattern[str]]] = {}
        self._read_at: dict[str, float] = {}

    def learn(self, server: str, uris: Iterable[str]) -> None:
        """These are in its list, or were read from it."""
        known = self._uris.setdefault(server, {})
        for uri in uris:
            known.pop(uri, None)
            known[uri] = None
        while len(known) > MAX_URIS:
            del known[next(iter(known))]

    def learn_templates(self, server: str, templates: Iterable[str]) -> None:
        """These are in its list of templates."""
        templates = list(templates)
        self.learn(server, templates)
        known = self._templates.setdefault(server, {})
        for template in templates:
            if len(known) < MAX_TEMPLATES and len(template) <= MAX_TEMPLATE and template not in known:
                known[template] = pattern(template)

    def read(self, server: str, now: float) -> None:
        """Its lists were read, as far as they could be."""
        self._read_at[server] = now

    def changed(self, server: str) -> None:
        """Its lists have changed."""
        for known in (self._uris, self._templates, self._read_at):
            known.pop(server, None)

    def unread(self, servers: Iterable[str], now: float) -> list[str]:
        """Those whose lists could say more than is known."""
        return [one for one in servers if now - self._read_at.get(one, -AGAIN_S) >= AGAIN_S]

    def owner(self, uri: str, servers: Iterable[str]) -> str | None:
        """The first of these servers that has shown this URI or template."""
        return next((one for one in servers if uri in self._uris.get(one, ())), None)

    def order(self, uri: str, servers: Sequence[str]) -> list[str]:
        """The order in which these servers are asked for it."""
        owner = self.owner(uri, servers)
        if owner is not None:
            return [owner]
        matching = [
            one
            for one in servers
            if len(uri) <= MAX_MATCHED and any(p.match(uri) for p in self._templates.get(one, {}).values())
        ]
        return matching + [one for one in servers if one not in matching]


def pattern(template: str) -> re.Pattern[str]:
    """What URIs of this template look like (RFC 6570, without what its variables may hold).

    Servers choose templates and callers URIs, so a step that has matched is not tried again in another way.
    """
    literals = [""]
    wide: list[bool] = []
    at = 0
    for found in _VARIABLE.finditer(template):
        literal = template[at : found.start()]
        at = found.end()
        is_wide = found[1][:1] in _WIDE or found[1].endswith("*")
        if wide and not literal:
            wide[-1] = True  # two variables without anything between them are one
        else:
            literals[-1] += literal
            literals.append("")
            wide.append(is_wide)
    literals[-1] = template[at:]
    regex = re.escape(literals[0])
    for n, is_wide in enumerate(wide):
        some, literal = ".*" if is_wide else "[^/?#]+", re.escape(literals[n + 1])
        regex += some + literal if n == len(wide) - 1 else f"(?>{some}?{literal})"
    return re.compile(regex + r"\Z", re.DOTALL)
