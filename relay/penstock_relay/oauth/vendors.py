"""The assistants that people know by name: what they are called, and where their answers go. Pure.

A name is nobody's proof; a redirect URI is where the code really goes. Hosts are compared whole, never by
their end: on many a vendor's domain, anybody can publish under a name below it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from penstock.lookalike import skeleton


@dataclass(frozen=True, slots=True)
class Vendor:
    name: str
    """Of the company, for people."""
    words: tuple[str, ...]
    """What it and its assistants are called: small letters, no spaces."""
    hosts: frozenset[str]
    """Where its own clients may have users sent back to, and where it describes them."""


VENDORS: Final = (
    Vendor("OpenAI", ("chatgpt", "openai"), frozenset({"chatgpt.com", "openai.com", "platform.openai.com"})),
    Vendor("Anthropic", ("claude", "anthropic"), frozenset({"claude.ai", "claude.com", "anthropic.com"})),
    Vendor(
        "Google",
        ("gemini", "google"),
        frozenset({"google.com", "www.google.com", "gemini.google.com", "vertexaisearch.cloud.google.com"}),
    ),
    Vendor(
        "Microsoft",
        ("copilot", "microsoft", "visualstudiocode"),
        frozenset(
            {"copilot.microsoft.com", "global.consent.azure-apim.net", "vscode.dev", "insiders.vscode.dev"}
        ),
    ),
    Vendor("GitHub", ("github",), frozenset({"github.com", "vscode.dev", "insiders.vscode.dev"})),
    Vendor("Cursor", ("cursor",), frozenset({"cursor.com", "www.cursor.com"})),
    Vendor("Mistral", ("mistral", "lechat"), frozenset({"chat.mistral.ai", "callback.mistral.ai"})),
    Vendor("Perplexity", ("perplexity",), frozenset({"perplexity.ai", "www.perplexity.ai"})),
    Vendor("xAI", ("grok", "xai"), frozenset({"grok.com", "x.ai"})),
    # Nobody connects to the relay in its own name.
    Vendor("Penstock", ("penstock",), frozenset()),
)

HOSTS: Final = frozenset().union(*(vendor.hosts for vendor in VENDORS))

_CALLBACK: Final = re.compile(
    r"https://chatgpt\.com/(connector_platform_oauth_redirect|connector/oauth/[A-Za-z0-9_-]{1,128})"
    r"|https://claude\.(ai|com)/api/mcp/auth_callback"
)
_PIECE: Final = re.compile(r"[^\W_]+")
_ORDINARY: Final = frozenset({"cursor", "grok", "xai"})
"""Words that other words contain: "precursor"."""
_JOINED: Final = 3
"""Words that are read as one: "Chat GPT", "Visual Studio Code"."""


def takes_answers(redirect_uri: str) -> bool:
    """Whether `redirect_uri` is known to be the callback of an assistant, and of nothing else.

    A browser may be sent there without a click: whoever sends a user there could send him directly.
    """
    return _CALLBACK.fullmatch(redirect_uri) is not None


def resembled(name: str) -> list[Vendor]:
    """The vendors whose names `name` resembles: by letters that look alike, in pieces, or misspelt."""
    pieces = _PIECE.findall(skeleton(name))
    runs = {
        "".join(pieces[start : start + length])
        for start in range(len(pieces))
        for length in range(1, _JOINED + 1)
    }
    runs.add("".join(piece for piece in pieces if len(piece) == 1))  # "C l a u d e"
    return [
        vendor for vendor in VENDORS if any(_near(word, runs, pieces) for word in map(skeleton, vendor.words))
    ]


def _near(word: str, runs: set[str], pieces: list[str]) -> bool:
    """A part of one piece, or all of a run; or one letter doubled, or two swapped."""
    if word not in _ORDINARY and any(word in piece for piece in pieces):
        return True
    return any(run == word or _slip(run, word) for run in runs)


def _slip(run: str, word: str) -> bool:
    if len(word) < 6:
        return False  # too many short words are near to each other
    if len(run) == len(word) + 1:
        return any(run == word[:at] + word[at] + word[at:] for at in range(len(word)))
    if len(run) != len(word) or run == word:
        return False
    return any(run == word[:at] + word[at + 1] + word[at] + word[at + 2 :] for at in range(len(word) - 1))
