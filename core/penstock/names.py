"""Names of sites, servers and agents, and the identity that an agent's certificate carries."""

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

RESERVED = frozenset({"oauth", "console", "invite"})
"""First path segments that the relay keeps for itself: no site, server or agent may be called so."""

MAX_NAME = 40
WHOLE_SITE: Final = ""
"""What the wire calls all servers of a site together, where one server's name would stand."""
URI_PREFIX = "spiffe://penstock.internal/site/"

_NAME = re.compile(r"[a-z0-9-]{1,40}")
_TAGGED = re.compile(r"([a-z2-7]{8})\.[\x21-\x7e]{1,256}")


class BadName(ValueError):
    """A name or an identity that Penstock does not accept; the text is a sentence for the operator."""


def parse_name(text: str, what: str = "name") -> str:
    """Return `text` when it is a usable name; `what` says in the error whose name it is.

    Raises BadName. The refused text is repeated, escaped and cut, because an operator typed it.
    """
    if _NAME.fullmatch(text) is None:
        shown = ascii(text if len(text) <= MAX_NAME else text[:MAX_NAME] + "…")
        raise BadName(
            f"The {what} {shown} is not usable: take 1 to {MAX_NAME} of the characters a-z, 0-9 and '-'."
        )
    if text in RESERVED:
        raise BadName(f"The {what} '{text}' is reserved for the relay's own pages: choose another.")
    return text


@dataclass(frozen=True, slots=True, order=True)
class AgentId:
    """Which agent of which site. Raises BadName when either is not a name."""

    site: str
    agent: str

    def __post_init__(self) -> None:
        parse_name(self.site, "site")
        parse_name(self.agent, "agent")

    @property
    def uri(self) -> str:
        """The only name in the agent's certificate: its URI subject alternative name."""
        return f"{URI_PREFIX}{self.site}/agent/{self.agent}"

    @classmethod
    def from_uri(cls, uri: str) -> "AgentId":
        """Read `uri` byte for byte: no case folding, no percent decoding, no dots. Raises BadName."""
        site, separator, agent = uri.removeprefix(URI_PREFIX).partition("/agent/")
        if not uri.startswith(URI_PREFIX) or not separator:
            raise BadName(
                "The certificate names no Penstock agent: enrol the agent again with a new join string."
            )
        return cls(site, agent)

    @property
    def tag(self) -> str:
        """Eight characters of [a-z2-7] that lead every key which this agent hands out."""
        return _tag(self.uri)


@lru_cache(maxsize=4096)  # asked for with each call of each session
def _tag(uri: str) -> str:
    digest = hashlib.sha256(uri.encode()).digest()
    return base64.b32encode(digest[:5]).decode().lower()


def tag_of(session_id: str) -> str | None:
    """The agent's tag in front of a session id; None when the id does not have the form `tag.random`."""
    match = _TAGGED.fullmatch(session_id)
    return None if match is None else match[1]
