"""What a caller is told when there is no answer from the site. Pure.

A model can read the result of a tool, and nothing else: `tools/call` gets a tool result that says in words
what happened. Everything else gets a JSON-RPC error with the request's id and a status above 499 (below it,
clients conclude that the server is of an older revision). A message of HTTP+SSE never gets the result of a
tool: its sender reads answers from the stream, and takes any 200 for "accepted".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from penstock import outcome
from penstock.envelope import (
    EnvelopeError,
    Kind,
    Message,
    is_batch,
    is_modern,
    parse_batch,
    parse_caller,
)
from penstock_relay.edge.limits import RETRY_AFTER


@dataclass(frozen=True, slots=True)
class Said:
    """An answer of the relay's own: a status and one JSON-RPC message."""

    status: int
    body: bytes
    retry_after_s: int | None = None


def offline(
    method: str, body: bytes, site: str, since: float | None, now: float, *, in_words: bool = True
) -> Said:
    """The site has no link. `since` (None: it never had one) and `now` are seconds since the epoch.

    `in_words`: whether a model may be told by the result of a tool; here as in what follows.
    """
    if since is None:
        absence = "has not been connected since the relay started"
    else:
        at = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        absence = f"has been offline since {at} ({_ago(now - since)})"
    text = (
        f"The site '{site}' {absence}: its agent has no connection to the relay. This request was not "
        "executed. Try again later, or ask the site's administrator to run 'penstock-agent status'."
    )
    return not_executed(method, body, text, RETRY_AFTER, in_words=in_words)


def not_executed(method: str, body: bytes, text: str, retry_after_s: int, *, in_words: bool = True) -> Said:
    """The request did not run and never will. A body that is not JSON-RPC is refused as such (400)."""
    try:
        message = _message(method, body)
    except EnvelopeError as error:
        return Said(400, outcome.rpc_error(error.id, error.code, str(error)))
    return _said(message, None, outcome.NOT_EXECUTED, text, "", retry_after_s, in_words)


def outcome_unknown(
    method: str, body: bytes, text: str, exchange: str = "", *, in_words: bool = True
) -> Said:
    """The request may have run. `exchange` is its key, for whoever looks into the site's log."""
    try:
        message = _message(method, body)
    except EnvelopeError as error:
        return _said(None, error.id, outcome.OUTCOME_UNKNOWN, text, exchange, None, in_words)
    return _said(message, None, outcome.OUTCOME_UNKNOWN, text, exchange, None, in_words)


def last_event(method: str, body: bytes, text: str, exchange: str) -> bytes | None:
    """The message that ends a broken event stream; None where no request waits for one."""
    try:
        message = _message(method, body)
    except EnvelopeError as error:
        if error.id is None:
            return None
        return outcome.rpc_error(error.id, outcome.OUTCOME_UNKNOWN, text, exchange=exchange)
    if message is None or message.kind is not Kind.REQUEST:
        return None
    return _said(message, None, outcome.OUTCOME_UNKNOWN, text, exchange, None, in_words=True).body


def _message(method: str, body: bytes) -> Message | None:
    if method != "POST":
        return None
    if is_batch(body):
        parse_batch(body)  # 2025-03-26; no answer could stand for all of them
        return None
    return parse_caller(body)


def _said(
    message: Message | None,
    id: bytes | None,
    code: int,
    text: str,
    exchange: str,
    retry_after_s: int | None,
    in_words: bool,
) -> Said:
    row = outcome.TABLE[code]
    if message is not None and message.kind is Kind.REQUEST:
        id = message.id
        if in_words and message.method == "tools/call" and id is not None:
            result = outcome.tool_error(
                id,
                text,
                outcome=row.outcome or "",
                exchange=exchange,
                retry_safe=bool(row.retry_safe),
                modern=is_modern(message),
            )
            return Said(200, result)
    return Said(row.status, outcome.rpc_error(id, code, text, exchange=exchange), retry_after_s)


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        count = int(seconds // size)
        if count >= 1:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
