"""What the edge counts: plain integers, read by the ops listener. No names of sites, servers or callers."""

from __future__ import annotations


class Stats:
    """Counters of one replica's edge."""

    __slots__ = ("by_class", "connections", "in_flight", "request_bytes")

    def __init__(self) -> None:
        self.by_class = [0, 0, 0, 0, 0, 0]
        """Answers begun, by the first digit of their status."""
        self.in_flight = 0
        """Exchanges between the request and the end of its answer."""
        self.connections = 0
        """Open public connections."""
        self.request_bytes = 0
        """Bytes of request bodies held for all callers together."""

    def answered(self, status: int) -> None:
        """An answer with `status` has begun."""
        self.by_class[status // 100] += 1
