"""What can be said in the audit log: a closed list of kinds, each with the fields that it may carry. Pure.

A field is a name that the relay knows, a number, a moment, or one of a few words; text that others chose (the
name of an application) is cut. Nothing here is ever a payload, an argument, a token or a password.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final

MAX_TEXT: Final = 200
"""Characters of a text in a record; a longer one ends in the beginning of its SHA-256 instead."""

MAX_ALLOWED: Final = 2000
"""Characters of ``allowed``, which names tools."""

MOMENTS: Final = frozenset({"before", "expires_at", "first_at", "not_after"})
"""Fields that are given in seconds since the epoch, and shown as ISO 8601."""

EVERYWHERE: Final = frozenset({"count", "first_at"})
"""Fields of every kind: how often it happened, where one record stands for several, and since when."""


class Kind(Enum):
    """Everything that is recorded: the name in the log, then the fields. New ones are added, none renamed."""

    RELAY_STARTED = ("relay_started", "version", "public_url", "config")
    RELAY_STOPPED = ("relay_stopped",)
    AUDIT_PRUNED = ("audit_pruned", "before", "through", "hash")

    SITE_ADDED = ("site_added", "site", "approval")
    SITE_SUSPENDED = ("site_suspended", "site")
    SITE_RESUMED = ("site_resumed", "site")
    AGENT_INVITED = ("agent_invited", "site", "invite", "replaces", "expires_at")
    AGENT_ENROLLED = ("agent_enrolled", "site", "agent", "serial", "not_after", "state")
    AGENT_REPLACED = ("agent_replaced", "site", "agent", "serial", "not_after", "state")
    AGENT_APPROVED = ("agent_approved", "site", "agent", "fingerprint")
    AGENT_REVOKED = ("agent_revoked", "site", "agent", "serial")
    AGENT_LOCKED = ("agent_locked", "site", "agent", "reason")
    CERTIFICATE_RENEWED = ("certificate_renewed", "site", "agent", "generation", "serial", "not_after")
    ENROLMENT_REFUSED = ("enrolment_refused", "reason")
    LEDGER_OPENED = ("ledger_opened", "site", "agent", "ledger", "n", "follows")
    LEDGER_CONFLICT = ("ledger_conflict", "site", "agent", "ledger", "n", "stored_n", "reason")

    CA_ROTATED = ("ca_rotated", "phase", "forced")

    TOKEN_ISSUED = ("token_issued", "token", "name", "site", "server", "expires_at")
    TOKEN_REVOKED = ("token_revoked", "token", "name", "site", "server")

    USER_ADDED = ("user_added", "user", "invite", "expires_at")
    USER_INVITED = ("user_invited", "user", "invite", "expires_at")
    PASSWORD_SET = ("password_set", "user", "invite", "state")
    USER_DISABLED = ("user_disabled", "user", "state", "grants", "logins")
    USER_ENABLED = ("user_enabled", "user", "state")
    USER_RESET = ("user_reset", "user", "state", "grants", "logins")
    USER_JOINED = ("user_joined", "user", "issuer", "subject")
    USER_NOT_VOUCHED = ("user_not_vouched", "user", "logins")
    USER_LOGGED_OUT = ("user_logged_out", "user", "grants", "logins")
    RELAY_ADMIN_ADDED = ("relay_admin_added", "user")
    RELAY_ADMIN_REMOVED = ("relay_admin_removed", "user")
    ACCESS_ADDED = ("access_added", "user", "group", "site", "server", "role")
    ACCESS_CHANGED = ("access_changed", "user", "group", "site", "server", "role")
    ACCESS_REMOVED = ("access_removed", "user", "group", "site", "server", "role")

    LOGIN = ("login", "method")
    LOGIN_FAILED = ("login_failed", "user")
    LOGIN_THROTTLED = ("login_throttled",)
    LOGOUT = ("logout",)
    FACTOR_ADDED = ("factor_added", "user", "logins")
    FACTOR_REMOVED = ("factor_removed", "user")
    FACTOR_RESET = ("factor_reset", "user", "logins")
    FACTOR_FAILED = ("factor_failed", "user")
    FACTOR_THROTTLED = ("factor_throttled", "user")
    RECOVERY_CODE_USED = ("recovery_code_used", "user", "left")

    CLIENT_ADDED = ("client_added", "client", "client_name", "auth")
    CLIENT_REMOVED = ("client_removed", "client", "client_name", "grants")
    CLIENT_REGISTERED = ("client_registered", "client", "client_name", "auth", "dropped")
    CLIENTS_PURGED = ("clients_purged",)
    CONSENT_ALLOWED = (
        "consent_allowed", "client", "client_name", "site", "server", "allowed", "expires_at",
    )  # fmt: skip
    CONSENT_DENIED = ("consent_denied", "client", "client_name", "site", "server")
    GRANT_MADE = ("grant_made", "grant", "user", "client", "site", "server", "allowed", "expires_at")
    GRANT_CHANGED = ("grant_changed", "grant", "user", "client", "site", "server", "allowed")
    GRANT_REVOKED = ("grant_revoked", "grant", "user", "client", "site", "server", "reason")

    def __init__(self, text: str, *fields: str) -> None:
        self.text = text
        self.fields = EVERYWHERE.union(fields)


@dataclass(frozen=True, slots=True)
class Change:
    """What a field was, and what it is from now on."""

    old: str | float | None
    new: str | float | None


Value = str | int | float | Change
"""What a field is."""

Shown = str | int | dict[str, "str | int | None"]
"""What stands in the record."""


@dataclass(frozen=True, slots=True)
class Event:
    """Made by :func:`event`. Equal ones may be counted together."""

    kind: Kind
    given: tuple[tuple[str, Value], ...]

    def about(self) -> dict[str, Shown]:
        """The fields as the record has them."""
        return {name: _shown(name, value) for name, value in self.given}


def event(kind: Kind, **fields: Value | None) -> Event:
    """A field of None is left out. Raises TypeError for a field that the kind does not have."""
    wrong = fields.keys() - kind.fields
    if wrong:
        raise TypeError(f"{kind.name} has no field {', '.join(sorted(wrong))}: say it in Kind")
    return Event(kind, tuple(sorted((name, value) for name, value in fields.items() if value is not None)))


def moment(at: float) -> str:
    """ISO 8601, UTC, milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def bounded(text: str, most: int = MAX_TEXT) -> str:
    """The text, or as much of it as a record takes, still told from another that begins alike."""
    if len(text) <= most:
        return text
    mark = "~" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return text[: most - len(mark)] + mark


def _shown(name: str, value: str | float | Change) -> Shown:
    if isinstance(value, Change):
        return {
            "from": None if value.old is None else _plain(name, value.old),
            "to": None if value.new is None else _plain(name, value.new),
        }
    return _plain(name, value)


def _plain(name: str, value: str | float) -> str | int:
    if isinstance(value, str):
        return bounded(value, MAX_ALLOWED if name == "allowed" else MAX_TEXT)
    # No fractions: every language writes whole numbers alike, and the record must read the same in each.
    return moment(value) if name in MOMENTS else int(value)
