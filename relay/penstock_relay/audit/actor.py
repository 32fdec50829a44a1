"""Who did what the audit log says. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from penstock_relay.audit.events import bounded


class ActorKind(StrEnum):
    """How the actor was known; the log says it, because not every way proves as much as another."""

    RELAY = "relay"
    """The relay itself, by what it is set to do: nobody asked for this one thing."""
    COMMAND = "command"
    """Who ran a command on the relay's machine, by the kernel's word."""
    USER = "user"
    """Who is logged in, in the browser that sent the form."""
    CLIENT = "client"
    """An OAuth client that calls an endpoint, and for whom."""
    INVITE = "invite"
    """Who has a join string."""
    STRANGER = "stranger"
    """Anybody."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Made by one of the functions below. ``about`` is what the log says besides the kind, by name."""

    kind: ActorKind
    about: tuple[tuple[str, str | int], ...] = ()

    def fields(self) -> dict[str, str | int]:
        """As the log shows it."""
        return {"kind": self.kind.value, **dict(self.about)}


RELAY: Final = Actor(ActorKind.RELAY)
STRANGER: Final = Actor(ActorKind.STRANGER)


def command(uid: int, name: str, host: str, sudo_user: str | None = None) -> Actor:
    """``sudo_user`` is who called sudo, as sudo says; root can say anything there."""
    about: list[tuple[str, str | int]] = [("uid", uid), ("name", bounded(name)), ("host", bounded(host))]
    if sudo_user:
        about.append(("sudo_user", bounded(sudo_user)))
    return Actor(ActorKind.COMMAND, tuple(about))


def user(name: str) -> Actor:
    return Actor(ActorKind.USER, (("name", bounded(name)),))


def client(client_id: str, user: str) -> Actor:
    """``user`` is whose grant or code the client came with."""
    return Actor(ActorKind.CLIENT, (("client", bounded(client_id)), ("user", bounded(user))))


def invite(secret_hash: bytes, site: str) -> Actor:
    """By the beginning of the hash of a join string's secret, which leads back to who made it."""
    return Actor(ActorKind.INVITE, (("invite", invite_id(secret_hash)), ("site", bounded(site))))


def invite_id(secret_hash: bytes) -> str:
    """What the log calls a join string or an invitation: 48 bits of its hash, no secret."""
    return secret_hash.hex()[:12]
