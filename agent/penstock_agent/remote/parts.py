"""How much is held of lines that are not whole yet."""

from __future__ import annotations

from typing import Final

from penstock_agent.children.lines import LINE_MAX

PARTS_MAX: Final = 2 * LINE_MAX
"""Bytes, over all responses of one conversation."""


class Parts:
    """Counts the bytes of lines that are not whole yet."""

    def __init__(self, most: int = PARTS_MAX) -> None:
        self._most = most
        self.held = 0

    def change(self, before: int, after: int) -> bool:
        """A part has grown or shrunk. False, and nothing changed, when it may not grow that far."""
        if after > before and self.held - before + after > self._most:
            return False
        self.held += after - before
        return True
