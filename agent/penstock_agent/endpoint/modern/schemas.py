"""What tool lists that went by say about the headers of calls. Pure.

A list may differ from caller to caller, so this is kept per process, and what no list said is not checked.
"""

from __future__ import annotations

from typing import Final

import msgspec

from penstock_agent.catalogue.mirrored import KEY, Mirrored, mirrored

MAX_TOOLS: Final = 4096
"""Tools with such headers that are remembered per process."""


class _Tool(msgspec.Struct):
    name: str = ""
    schema: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="inputSchema")


class _Page(msgspec.Struct):
    tools: list[_Tool] = []


_page = msgspec.json.Decoder(_Page)


class Schemas:
    """``heard`` is whether there was a list at all."""

    def __init__(self) -> None:
        self.heard = False
        self._tools: dict[str, tuple[Mirrored, ...]] = {}

    def forget(self) -> None:
        """The tools have changed."""
        self._tools.clear()
        self.heard = False

    def listed(self, result: bytes) -> None:
        """A result of tools/list: one page, which says nothing about tools of other pages."""
        self.heard = True
        if not self._tools and KEY.encode() not in result:
            return
        try:
            page = _page.decode(result)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            return
        for tool in page.tools:
            self._tools.pop(tool.name, None)
            wanted = mirrored(bytes(tool.schema))
            if wanted and len(self._tools) < MAX_TOOLS:
                self._tools[tool.name] = wanted

    def of(self, tool: str) -> tuple[Mirrored, ...]:
        """The arguments of this tool that a call repeats in headers, as far as is known."""
        return self._tools.get(tool, ())
