"""E-mail addresses in a text, as people write them: no comments, no quoted local parts."""

from __future__ import annotations

import re
from typing import Final

from penstock_agent.gate.redaction.keys import Span

# Begins at the @, which is rare; what stands before it is read backwards from there.
_DOMAIN: Final = re.compile(r"@(?:[^\W_][\w-]{0,62}\.){1,8}(?:xn--[A-Za-z0-9-]{2,59}|[^\W\d_]{2,63})")
_LOCAL: Final = re.compile(r"[\w.+%&#$!~^-]{1,64}")
_MAX_LOCAL: Final = 64


def find(text: str) -> list[Span]:
    """Where e-mail addresses are."""
    found = []
    done = 0
    for domain in _DOMAIN.finditer(text):
        at = domain.start()
        before = _LOCAL.match(text[max(done, at - _MAX_LOCAL) : at][::-1])
        if before is not None:
            done = domain.end()
            found.append((at - before.end(), done))
    return found
