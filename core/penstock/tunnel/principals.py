"""Which principals a link knows: the same rule at both ends, so that they forget alike."""

from __future__ import annotations

from collections import OrderedDict

from penstock.tunnel.limits import PRINCIPAL_BYTES, PRINCIPALS


class Principals:
    """The most recent principals of one link, 1,024 and 16 MiB at most; use makes recent."""

    __slots__ = ("_bytes", "_known")

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0

    def add(self, digest: bytes, content: bytes) -> None:
        self.forget(digest)
        self._known[digest] = content
        self._bytes += len(content)
        while len(self._known) > PRINCIPALS or self._bytes > PRINCIPAL_BYTES:
            _, old = self._known.popitem(last=False)
            self._bytes -= len(old)

    def use(self, digest: bytes) -> bytes | None:
        """The content, or None when this link does not know it (any more)."""
        content = self._known.get(digest)
        if content is not None:
            self._known.move_to_end(digest)
        return content

    def forget(self, digest: bytes) -> None:
        old = self._known.pop(digest, None)
        if old is not None:
            self._bytes -= len(old)

    def __len__(self) -> int:
        return len(self._known)
