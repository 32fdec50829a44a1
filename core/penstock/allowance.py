"""What a grant allows: chosen by a user at consent, carried with every exchange, enforced by the agent."""

from collections.abc import Collection
from enum import StrEnum
from functools import lru_cache
from typing import Final

import msgspec

from penstock.lookalike import fold

MAX_NAMES: Final = 500
"""Names of tools in one allowance; more are put as prefixes."""
MAX_BYTES: Final = 32 * 1024
"""Largest encoded allowance: claims have to fit beside it into one PRINCIPAL frame."""


class Later(StrEnum):
    """Which tools are allowed besides those that stood on the page: what the server shows later."""

    NONE = "none"
    READ_ONLY = "read_only"
    """Those that the server marks as only reading."""
    ALL = "all"


class Allowance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Within what the site exposes. Unknown fields are refused: they may be limits that must be kept."""

    tools: tuple[str, ...] = ()
    """By their exact names."""
    prefixes: tuple[str, ...] = ()
    """Every tool whose name begins so."""
    denied: tuple[str, ...] = ()
    """Tools that stood on the page and were not chosen: `later` does not bring them in."""
    later: Later = Later.NONE
    others: bool = False
    """Prompts, resources, and whatever else is neither a tool nor a part of the protocol itself."""

    def allows_tool(self, name: str, marked: Collection[str]) -> bool:
        """Whether the tool may be used. `marked`: names of the tools that the server marks as read-only."""
        if name in self.tools or (self.prefixes and name.startswith(self.prefixes)):
            return True
        if self.later is Later.NONE or name in self.denied:
            return False
        if name in marked:
            return True
        if self.later is not Later.ALL:
            return False
        # A server that is lenient about names would take some that nobody lists for one that was denied.
        return not self.denied or _leniently(name) not in _all_leniently(self.denied)

    def dump(self) -> bytes:
        """As canonical JSON: equal allowances, equal bytes. Raises ValueError above the bounds."""
        data = _encoder.encode(self)
        if len(data) > MAX_BYTES or len(self.tools) + len(self.prefixes) + len(self.denied) > MAX_NAMES:
            raise ValueError(f"A grant names at most {MAX_NAMES} tools in {MAX_BYTES} bytes.")
        return data

    @classmethod
    def parse(cls, data: bytes) -> "Allowance":
        """Raises ValueError; the text holds nothing of `data`."""
        if len(data) > MAX_BYTES:
            raise ValueError("This grant is too large.")
        try:
            return _decoder.decode(data)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            raise ValueError("This grant cannot be read.") from None


def _leniently(name: str) -> str:
    """What a server may make of a name that trims or folds what it is sent, or ends text at a NUL."""
    return "".join(c for c in fold(name.partition("\0")[0]) if c.isprintable() and not c.isspace())


@lru_cache(maxsize=256)
def _all_leniently(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(_leniently(name) for name in names)


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Allowance)
