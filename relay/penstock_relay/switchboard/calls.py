"""What the edge asks of the switchboard, and the ways in which it can go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from penstock.http import Headers
from penstock.principal import Principal
from penstock.tunnel.frames import DoneReason, Purpose


def _gone() -> DoneReason:
    return DoneReason.CLIENT_GONE


@dataclass(frozen=True, slots=True)
class Call:
    """One public request, whole and judged.

    ``deadline_s`` is what the caller allows for the whole answer, ``no_byte_s`` for its first byte.
    """

    site: str
    server: str
    method: str
    headers: Headers
    body: bytes
    principal: Principal
    purpose: Purpose
    deadline_s: float
    no_byte_s: float
    ending: Callable[[], DoneReason] = _gone
    """Asked when the call is cancelled: what the site is told."""


class Offline(Exception):
    """No agent of the site is linked: the request was not executed."""

    def __init__(self, since: float | None) -> None:
        super().__init__("the site is offline")
        self.since = since
        """When its last link was lost, in seconds since the epoch; None when there was none yet."""


class NotExecuted(Exception):
    """The request did not run and never will; the text says why."""

    def __init__(self, text: str, retry_after_s: int = 1) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class OutcomeUnknown(Exception):
    """The request may have run; the text says why that is not known."""


class AnswerBroken(Exception):
    """An answer that had begun broke off; the text says why."""


class Answer(Protocol):
    """An answer that has begun."""

    @property
    def key(self) -> str: ...
    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Headers: ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The body; each chunk that is taken gives credit back. Raises AnswerBroken."""

    def close(self, reason: DoneReason) -> None:
        """The caller has it all (OK), or is no longer there. Idempotent."""
