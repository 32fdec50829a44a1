"""The certificates of one agent, in the order they were given, and what one of them is worth now. Pure.

Each renewal makes a new generation. Only one machine holds the newest; who comes with an older one, once a
newer one is known to have arrived, is a copy: a clone, or a machine that went back to a snapshot. That a
newer one was *given* proves nothing, because the answer may have been lost; that it was *seen* does.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from penstock.names import AgentId
from penstock.renewal import EXPIRED_FOR

KEPT: Final = 256
"""Generations of one agent that are remembered; a certificate before them is unknown."""


class Lock(Enum):
    """What an identity was locked for."""

    CLONE = "clone"
    """Another machine was linked as this agent at that moment, or both of two certificates were used."""
    SNAPSHOT = "snapshot"
    """No other was linked: most likely a machine that went back to an older state."""


class Standing(Enum):
    """What a certificate is worth."""

    GOOD = "good"
    REVOKED = "revoked"
    LOCKED = "locked"
    WAITING = "waiting"
    """Its agent was not approved yet."""
    SUPERSEDED = "superseded"
    """Older than one that was seen: no link, and to renew it locks the agent."""
    FORKED = "forked"
    """Given, believed lost, and used now all the same: two machines hold the identity. Locks the agent."""
    EXPIRED = "expired"
    """Not even good for a renewal any more."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate; times in seconds since the epoch, `serial` in lower-case hexadecimal."""

    serial: str
    generation: int
    fingerprint: bytes | None
    """SHA-256 of its public key; None for one of the first version."""
    issued_at: float
    not_after: float
    seen_at: float | None = None
    """When it was first used: on a link, to renew, or confirmed by the agent."""
    abandoned_at: float | None = None
    """When it was taken for lost, because the one before it was renewed again."""
    revoked_at: float | None = None
    """When another enrolment took its place."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """An agent's standing and its certificates by generation, the oldest first; at least one."""

    agent: AgentId
    approved: bool
    revoked_at: float | None
    lock: Lock | None
    certificates: tuple[Certificate, ...]

    @property
    def newest(self) -> Certificate:
        return self.certificates[-1]

    def find(self, serial: str) -> Certificate | None:
        return next((each for each in self.certificates if each.serial == serial), None)

    def ended_at(self, serial: str) -> tuple[float, bool] | None:
        """When `serial` was revoked, and whether because another enrolment took its place."""
        found = self.find(serial)
        if found is not None and found.revoked_at is not None:
            return found.revoked_at, True
        return None if self.revoked_at is None else (self.revoked_at, False)


def at_link(lineage: Lineage, serial: str) -> Standing:
    """What `serial` is worth to open a link with. TLS has seen to its dates and its key."""
    found = lineage.find(serial)
    if found is None:
        return Standing.UNKNOWN
    if lineage.ended_at(serial) is not None:
        return Standing.REVOKED
    if lineage.lock is not None:
        return Standing.LOCKED
    if found.abandoned_at is not None:
        return Standing.FORKED
    if not lineage.approved:
        return Standing.WAITING
    return Standing.SUPERSEDED if _newer_was_seen(lineage, found) else Standing.GOOD


def at_renewal(lineage: Lineage, serial: str, now: float) -> Standing:
    """What `serial` is worth to renew, by one who has proved to hold its key."""
    standing = at_link(lineage, serial)
    found = lineage.find(serial)
    if found is not None and standing in (Standing.GOOD, Standing.SUPERSEDED):
        if found.not_after + EXPIRED_FOR <= now:
            return Standing.EXPIRED
        if standing is Standing.SUPERSEDED:
            return Standing.FORKED
    return standing


def abandoned(lineage: Lineage, serial: str) -> tuple[str, ...]:
    """Serials that a renewal of `serial` shows to be lost: newer, and never seen."""
    found = lineage.find(serial)
    if found is None:
        return ()
    return tuple(
        each.serial
        for each in lineage.certificates
        if each.generation > found.generation and each.abandoned_at is None
    )


def forgettable(certificates: Iterable[Certificate], newest: int, now: float) -> tuple[str, ...]:
    """Serials of which nothing needs to be known any more, beside generation `newest`."""
    return tuple(
        each.serial
        for each in certificates
        if each.generation < newest
        and (each.not_after + EXPIRED_FOR <= now or each.generation <= newest - KEPT)
    )


def _newer_was_seen(lineage: Lineage, certificate: Certificate) -> bool:
    return any(
        each.generation > certificate.generation and each.seen_at is not None for each in lineage.certificates
    )
