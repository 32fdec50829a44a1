"""What every revision can do with every kind of server: one list, for the tests and for the documentation.

python -m tests.harness.cells       prints the table of docs/revisions.md
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from itertools import product
from typing import Final

CLIENTS: Final = ("2024-11-05-sse", "2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
"""Revisions; `-sse` is HTTP+SSE, the others are Streamable HTTP."""

CHILDREN: Final = ("handshake", "modern", "dual")

FEATURES: Final[Mapping[str, str]] = {
    "list": "lists of tools, prompts and resources",
    "call": "calls of tools",
    "progress": "progress of a call",
    "cancel": "cancellation",
    "elicitation": "elicitation",
    "sampling": "sampling",
    "roots": "roots",
    "log": "log messages, from a level on",
    "subscribe": "subscription to a resource",
    "list_changed": "news of changed lists",
    "completion": "completion of arguments",
    "prompts": "prompts with arguments",
    "resources": "resources and templates",
}
"""Name in the tests, and in words."""

NO_ELICITATION: Final = (
    "Elicitation came with 2025-06-18. A client of an older revision cannot say that it can be asked, so no "
    "server may ask it: a tool that needs an answer fails and says so."
)

_ROWS: Final = ((("2024-11-05-sse", "2024-11-05", "2025-03-26"), CHILDREN, "elicitation", NO_ELICITATION),)

CANNOT: Final[Mapping[tuple[str, str, str], str]] = {
    (client, child, feature): reason
    for clients, children, feature, reason in _ROWS
    for client, child in product(clients, children)
}
"""(client, child, feature) -> why. Everything else works."""


def table() -> str:
    """For the documentation, in Markdown: features by clients, and the reasons below."""
    reasons = list(dict.fromkeys(CANNOT.values()))
    head = ["", *(client.replace("-sse", " (HTTP+SSE)") for client in CLIENTS)]
    lines = [_row(head), "|" + "---|" * len(head)]
    for feature, words in FEATURES.items():
        lines.append(_row([words, *(_cell(client, feature, reasons) for client in CLIENTS)]))
    lines += ["", *(_reason(number, reason) for number, reason in enumerate(reasons, 1))]
    return "\n".join(lines) + "\n"


def _cell(client: str, feature: str, reasons: list[str]) -> str:
    why = {child: CANNOT.get((client, child, feature)) for child in CHILDREN}
    if set(why.values()) == {None}:
        return "yes"
    if len(set(why.values())) == 1:
        return f"no ({reasons.index(next(iter(why.values())) or '') + 1})"
    return ", ".join(
        f"{child}: " + ("yes" if reason is None else f"no ({reasons.index(reason) + 1})")
        for child, reason in why.items()
    )


def _reason(number: int, reason: str) -> str:
    return textwrap.fill(f"{number}. {reason}", 120, subsequent_indent="   ")


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    print(table(), end="")
