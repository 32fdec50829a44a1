"""What the ledger says of the agent itself, and of what the site's people change. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Final

from penstock_agent.ledger.entries import Event

MAX_LISTED: Final = 4096
"""Characters of a list of patterns."""


def content(data: bytes) -> str:
    """By which a file's content can be recognised."""
    return sha256(data).hexdigest()


def exposed(
    before: Mapping[str, Sequence[str]], after: Mapping[str, Sequence[str]], by_uid: int
) -> Iterator[Event]:
    """What became exposed and what no more, server by server, when the configuration was read again."""
    for server in sorted(before.keys() | after.keys()):
        old, new = before.get(server, ()), after.get(server, ())
        for what, items in (
            ("exposed", [each for each in new if each not in old]),
            ("hidden", [each for each in old if each not in new]),
        ):
            if items:
                yield Event(what, by_uid, {"server": server, "items": listed(items)})


def listed(items: Sequence[str]) -> str:
    text = ", ".join(items)
    return text if len(text) <= MAX_LISTED else f"{text[:MAX_LISTED]}…"
