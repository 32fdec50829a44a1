"""What the site says of a tool in the place of its server. Pure.

The pin is of what the server says; this is put over it afterwards, for those who see the tool.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from penstock.envelope import members
from penstock.lookalike import fold

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Override:
    """Of one tool; None and what is not among the annotations stay the server's."""

    title: str | None = None
    description: str | None = None
    annotations: Mapping[str, bool | str] = field(default_factory=dict)

    def over(self, raw: bytes) -> bytes:
        """The tool as callers see it."""
        found = members(raw)
        if found is None:
            return raw
        for name, text in (("title", self.title), ("description", self.description)):
            if text is not None:
                _put(found, name, _encode(text))
        if self.annotations:
            hints = members(bytes(found.get("annotations", b"{}"))) or {}
            for name, value in self.annotations.items():
                _put(hints, name, _encode(value))
            _put(found, "annotations", _encode(hints))
        return _encode(found)


#: Of several servers, by their names and the tools' own.
Overrides: TypeAlias = Mapping[str, Mapping[str, Override]]


def _put(found: dict[str, msgspec.Raw], name: str, value: bytes) -> None:
    """A lenient reader must not find the server's word beside ours."""
    for other in [other for other in found if other != name and fold(other) == fold(name)]:
        del found[other]
    found[name] = msgspec.Raw(value)
