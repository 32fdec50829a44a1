"""What a caller reads when the server's own answer is not to be had: words, a code, an outcome."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Protocol

import msgspec

from penstock.envelope import Message, is_modern, member, replaced
from penstock.names import WHOLE_SITE
from penstock.outcome import (
    DENIED,
    HTTP_STATUS,
    META_KEY,
    NOT_EXECUTED,
    OUTCOME_UNKNOWN,
    TABLE,
    rpc_error,
    tool_error,
)

#: The code with which the field's implementations answer a request that its sender has cancelled.
CANCELLED: Final = -32800
#: MCP 2026-07-28: the protocol version of the request is not supported.
UNSUPPORTED_VERSION: Final = -32022


#: Codes of ours that have an HTTP status of their own.
_OURS: Final = (NOT_EXECUTED, OUTCOME_UNKNOWN)


class Ending(Protocol):
    """What a request is answered without its server hearing of it."""

    @property
    def text(self) -> str:
        """What it says; empty where it is an answer of the server's."""
        ...

    def answer(self, request: Message, exchange: str) -> tuple[int, bytes]:
        """The HTTP status, and the message."""
        ...


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request has no answer of the server. ``code`` is one of ours; ``text`` is for people and
    models.
    """

    code: int
    text: str

    def answer(self, request: Message, exchange: str) -> tuple[int, bytes]:
        """The HTTP status and the message for ``request``; a tools/call gets a result that a model can
        read.
        """
        if (
            request.id is not None
            and request.method == "tools/call"
            and (row := TABLE.get(self.code)) is not None
        ):
            outcome, retry_safe = row.outcome or "", bool(row.retry_safe)
            return 200, tool_error(
                request.id,
                self.text,
                outcome=outcome,
                exchange=exchange,
                retry_safe=retry_safe,
                modern=is_modern(request),
            )
        return HTTP_STATUS.get(self.code, 200), rpc_error(request.id, self.code, self.text, exchange=exchange)


def not_executed(text: str) -> Failure:
    return Failure(NOT_EXECUTED, text)


def outcome_unknown(text: str) -> Failure:
    return Failure(OUTCOME_UNKNOWN, text)


def denied(text: str) -> Failure:
    return Failure(DENIED, text)


def of_exchange(answer: Message, exchange: str) -> tuple[int, Message]:
    """The HTTP status and the answer of the whole site, which says of its own failures (``answer``, above)
    everything but in which exchange.
    """
    name = msgspec.json.encode(exchange)
    if answer.error is not None:
        code = member(answer.error, "code")
        status = next((HTTP_STATUS[each] for each in _OURS if code == b"%d" % each), 200)
        if member(answer.error, "data", "exchange") == b'""':
            return status, replace(answer, error=replaced(answer.error, name, "data", "exchange"))
        return status, answer
    path = ("_meta", META_KEY, "exchange")
    if (
        answer.result is not None
        and b'"exchange":""' in answer.result
        and member(answer.result, *path) == b'""'
    ):
        return 200, replace(answer, result=replaced(answer.result, name, *path))
    return 200, answer


def unsupported_version(id: bytes | None, supported: tuple[str, ...], requested: str) -> bytes:
    """The answer to a request of another era (2026-07-28, basic/versioning)."""
    error = {
        "code": UNSUPPORTED_VERSION,
        "message": "This server speaks the protocol versions named in data.supported: start with initialize.",
        "data": {"supported": list(supported), "requested": requested[:64]},
    }
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (id or b"null", msgspec.json.encode(error))


def crash_looping(server: str, retry_after_s: float) -> Failure:
    return not_executed(
        f'The server "{server}" on site keeps crashing and is not started again for '
        f"{max(1, round(retry_after_s))} s. Its last words are in the agent's log on site."
    )


def not_started(server: str) -> Failure:
    """Why may name paths of the site, so it stays there."""
    return not_executed(
        f'The server "{server}" could not be started on site. The agent\'s log there says why; '
        "ask the site's administrator."
    )


def still_starting(server: str) -> Failure:
    """For one of several servers that are used as one."""
    return not_executed(
        f'The server "{server}" on site is being started and does not answer yet. Try again in a minute; the '
        "site's other servers can be used meanwhile."
    )


def no_server(server: str) -> str:
    """Why an exchange for a server that is not configured is refused."""
    if server != WHOLE_SITE:
        return "There is no such server on this site."
    return (
        "This site has no endpoint for all of its servers together: that takes two servers that expose "
        'something, those with trust = "caller" not counted. Use the URL of one server, or ask the site\'s '
        "administrator to expose a second one (penstock-agent expose)."
    )


CRASHED: Final = outcome_unknown(
    "The server's process on site ended while this request ran. It may or may not have taken effect: check "
    "before you repeat it. The process is started again for the next request."
)
TIMED_OUT: Final = outcome_unknown(
    "The server on site did not answer in time, and was told to stop. The request may or may not have "
    "taken effect: check before you repeat it, or ask for less at once."
)
TOO_LARGE: Final = outcome_unknown(
    "The server on site wrote an answer that is larger than this agent accepts. The request has run; ask "
    "for less at once, in pages or in parts."
)
REVOKED: Final = outcome_unknown(
    "The caller's access was withdrawn while this request ran, and the server on site was told to stop."
)
FORGOTTEN: Final = outcome_unknown(
    "What was answered meanwhile is not kept on site any more: it was too much, it is too long ago, or the "
    "agent was restarted. The request may or may not have taken effect: check before you repeat it."
)
SESSION_ENDED: Final = outcome_unknown(
    "The session was ended while this request ran. It may or may not have taken effect: check before you "
    "repeat it in a new session."
)
NO_ANSWER_TO_INITIALIZE: Final = not_executed(
    "The server on site was started but did not answer initialize in time. Its output is in the log of the "
    "agent on site; try again later."
)
ENDED: Final = not_executed("The session has ended. Start a new one with initialize.")
ENDED_AT_START: Final = not_executed(
    "The server's process on site ended right after it was started. Its last words are in the agent's log "
    "on site; ask the site's administrator."
)
OTHER_VERSION: Final = not_executed(
    "The server on site was started again and now speaks another protocol version, so this session has "
    "ended. Start a new session with initialize."
)
NOT_GREETED: Final = not_executed(
    "The server on site was started again but did not accept this session's initialize. Its output is in "
    "the log of the agent on site; try again later, or start a new session."
)
STUCK: Final = not_executed(
    "The server on site takes no more input at the moment, so it was not given the request. Try again later."
)
TOO_MANY_CALLS: Final = not_executed(
    "Too many requests of this session are unanswered. Wait for some of their answers, then try again."
)
UNMARKED: Final = not_executed(
    "This application may use the read-only tools of this server, and the server did not say which those "
    "are. Try again in a minute."
)
NO_ONE_MEANING: Final = denied(
    "Somebody on site has to approve this call, and its arguments can be read in more than one way. Nothing "
    "was done. Send plain JSON with every member once."
)
UNSAID: Final = not_executed(
    "The site's rules for this server depend on what the server says of its tools, and it did not say that. "
    "Try again in a minute; if it lasts, tell the site's administrator."
)
TOO_MANY_CHILDREN: Final = not_executed(
    "The agent on site runs as many server processes as it may (max_children). Close a "
    "session that is no longer used, or try again later."
)
TOO_MANY_PROCESSES: Final = not_executed(
    "The agent on site keeps as many server processes as it may, and all of them are in use. Try again later."
)
TOO_MANY_REQUESTS: Final = not_executed(
    "Too many of your requests to this server are unanswered. Wait for some of their answers, then try again."
)
PROCESS_BUSY: Final = not_executed(
    "The server on site has as many unanswered requests as it may. Try again later."
)
STILL_STARTING: Final = not_executed(
    "The server on site is being started for the first time, which takes longer than usual. Try again in a "
    "minute."
)
NOT_DISCOVERED: Final = not_executed(
    "The server on site was started but did not answer server/discover in time. Its output is in the log of "
    "the agent on site; try again later."
)
OTHER_ERA: Final = not_executed(
    "The server on site was started again and now speaks other revisions of MCP. Try again: you are told "
    "which."
)
PROCESS_ENDED: Final = outcome_unknown(
    "The server's process on site was ended while this request ran: its configuration has changed, or the "
    "agent is stopping. It may or may not have taken effect: check before you repeat it."
)
STOPPED: Final = outcome_unknown(
    "The site's administrator has stopped what you do here. The request may have taken effect; nothing of "
    "its answer is shown. Ask the administrator when it goes on."
)
LEFT_EARLY: Final = not_executed(
    "The connection was lost before the server on site was given the request. Try again."
)
NONE_STARTED: Final = not_executed(
    "None of the site's servers could be started or answered. The agent's log on site says why: try again in "
    "a minute, or ask the site's administrator."
)
STOPPING: Final = not_executed(
    "The agent on site is stopping or has not started yet. Try again in a few seconds."
)
