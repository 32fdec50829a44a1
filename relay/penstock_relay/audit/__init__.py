"""What the audit log says, how it is chained, and how often a stranger can make it say something. Pure."""

from penstock_relay.audit.actor import (
    RELAY,
    STRANGER,
    Actor,
    ActorKind,
    client,
    command,
    invite,
    invite_id,
    user,
)
from penstock_relay.audit.chain import Broken, Entry, Head, Verifier, seal
from penstock_relay.audit.events import Change, Event, Kind, Value, event
from penstock_relay.audit.tally import Tally

__all__ = [
    "RELAY",
    "STRANGER",
    "Actor",
    "ActorKind",
    "Broken",
    "Change",
    "Entry",
    "Event",
    "Head",
    "Kind",
    "Tally",
    "Value",
    "Verifier",
    "client",
    "command",
    "event",
    "invite",
    "invite_id",
    "seal",
    "user",
]
