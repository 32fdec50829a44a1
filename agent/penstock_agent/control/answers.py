"""What the running agent answers to each verb."""

from __future__ import annotations

import msgspec

from penstock_agent.gate.pause import Entry
from penstock_agent.ledger.entries import LedgerStatus


class ServerStatus(msgspec.Struct, frozen=True):
    """One configured server, in the answer to ``status``."""

    name: str
    #: How many children of it serve somebody now.
    children: int = 0
    #: How many more wait for somebody to need them.
    warm: int = 0
    #: The ``expose`` list in effect.
    expose: list[str] = []
    #: How far its children are confined, and what network they have; empty for one with a ``url``.
    isolation: str = ""
    network: str = ""


class Status(msgspec.Struct, frozen=True):
    """The answer to ``status``. Times are seconds since 1970."""

    version: str
    pid: int
    site: str
    agent: str
    relay_url: str
    linked: bool
    #: Since when it has been like that.
    since: float
    #: Origin of the public URL that the relay told; empty until the first link.
    public_url: str = ""
    replica: str = ""
    #: Why there is no link, in words; empty while there is one.
    problem: str = ""
    children: int = 0
    #: Children that wait for somebody to need them, beside those.
    warm: int = 0
    max_children: int = 0
    exchanges: int = 0
    #: When the certificate ends, and when it will be renewed, by the running agent's clock.
    certificate_expires: float = 0.0
    renews_at: float = 0.0
    #: Why the last renewal failed, in words; empty when it did not.
    renewal_problem: str = ""
    servers: list[ServerStatus] = []
    #: The servers that can be used together under the site's own URL.
    whole_site: list[str] = []
    #: What is stopped for now.
    paused: list[Entry] = []
    #: Definitions that are exposed and withheld until they are approved, by server.
    withheld: dict[str, list[str]] = {}
    #: Servers of which what was approved cannot be read, and why.
    not_read: dict[str, str] = {}
    ledger: LedgerStatus = LedgerStatus()


class Link(msgspec.Struct, frozen=True):
    """The answer to ``link`` {wait_s: seconds}: whether there was a link before that time was over."""

    linked: bool
    public_url: str = ""
    problem: str = ""


class Pause(msgspec.Struct, frozen=True):
    """The answer to ``pause`` and ``resume`` {kind, name}."""

    changed: bool
    """Whether it was not so already."""
    ended: int = 0
    """Sessions, processes and requests that were ended."""
    entries: list[Entry] = []
    """All that is paused now."""


class Approval(msgspec.Struct, frozen=True):
    """A call that waits for somebody on site, or has its answer. Times are seconds since 1970."""

    id: str
    state: str
    """waiting, approved or denied."""
    name: str
    """Who calls: a display name, the verified e-mail, the issuer's subject, and the client."""
    email: str
    subject: str
    client: str
    server: str
    item: str
    arguments: str
    """As the caller wrote them; only the beginning, where ``cut`` says so."""
    arguments_hash: str
    why: str
    asked_at: float
    expires_at: float
    cut: bool = False
    by_uid: int = -1
    answer_bytes: int = 0
    """Of the answer that is kept; 0 for a call that has not run."""
    answer: str = ""
    """What is kept, for who asks for this one; only the beginning, where it is longer."""


class Approvals(msgspec.Struct, frozen=True):
    """The answer to ``approvals`` {id}: the calls that are open, oldest first; with an id that one only, and
    all of its arguments that fit into an answer.
    """

    requests: list[Approval] = []


class TaintedPerson(msgspec.Struct, frozen=True):
    """Somebody for whom something sensitive was read; also the answer to ``untaint`` {subject, issuer}, which
    ends that.
    """

    subject: str
    issuer: str
    until: float
    """Seconds since 1970."""
    server: str
    """What it was read from last."""
    client: str


class Tainted(msgspec.Struct, frozen=True):
    """The answer to ``tainted``: for whom something sensitive was read lately, and how many more."""

    people: list[TaintedPerson] = []
    more: int = 0


class Call(msgspec.Struct, frozen=True):
    """An exchange that is open now. Texts that its caller chose may be cut."""

    exchange: str
    since: float
    """Seconds since 1970."""
    state: str
    """running, waiting (for approval on site) or listening."""
    name: str
    email: str
    subject: str
    client: str
    server: str
    """Empty for all servers of the site together."""
    item: str
    """``tool:NAME`` and so on, else the method; empty until it is decided."""
    bytes: int
    """Of the answer, so far."""


class Calls(msgspec.Struct, frozen=True):
    """The answer to ``calls``: what runs now, and how many more than these."""

    calls: list[Call] = []
    more: int = 0


class Renewal(msgspec.Struct, frozen=True):
    """The answer to ``renew``: until when the new certificate is good, in seconds since 1970."""

    certificate_expires: float
    generation: int
