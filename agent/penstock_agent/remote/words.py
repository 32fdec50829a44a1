"""What is said when the server itself has not answered. Pure.

Callers read what a :class:`Trouble` says: no addresses, paths or names of the site's network. Those are for
the log on site, and for the administrator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from penstock.outcome import NOT_EXECUTED, OUTCOME_UNKNOWN, TABLE, rpc_error, tool_error
from penstock_agent.remote.protocol import Outgoing


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a request has no answer of the server. ``sent``: whether it may have run."""

    text: str
    sent: bool

    def answer(self, out: Outgoing) -> bytes:
        """The line that stands in the place of the server's answer."""
        code = OUTCOME_UNKNOWN if self.sent else NOT_EXECUTED
        row = TABLE[code]
        id = out.id or b"null"
        if out.method != "tools/call":
            return rpc_error(id, code, self.text)
        line = tool_error(id, self.text, outcome=row.outcome or "", retry_safe=bool(row.retry_safe))
        if out.modern:  # where every result says of what kind it is
            line = line.replace(b'"result":{', b'"result":{"resultType":"complete",', 1)
        return line


def not_executed(text: str) -> Trouble:
    return Trouble(text, sent=False)


def outcome_unknown(text: str) -> Trouble:
    return Trouble(text, sent=True)


_CHECK: Final = "It may or may not have taken effect: check before you repeat it."

BROKE_OFF: Final = outcome_unknown(
    f"The connection to the server on site broke while this request ran. {_CHECK}"
)
TOO_LARGE: Final = outcome_unknown(
    "The server on site wrote an answer that is larger than this agent accepts. The request has run; ask for "
    "less at once, in pages or in parts."
)
NO_ANSWER: Final = outcome_unknown(
    f"The server on site took this request and ended its response without an answer. {_CHECK}"
)
NOT_MCP: Final = outcome_unknown(
    "What answered on site is not JSON and not an event stream, so it is probably no MCP server. The site's "
    "administrator should check the server's url."
)
COMPRESSED: Final = outcome_unknown(
    f"The server on site compressed its answer although it was asked not to. {_CHECK}"
)
SESSION_LOST: Final = not_executed(
    "The server on site no longer knows this conversation, probably because it was restarted, and did not "
    "execute the request. Send it again: a new conversation is begun by itself."
)
OUT_OF_REACH: Final = not_executed(
    "The server on site cannot be reached at the moment, and was not given the request. Try again later; if "
    "it lasts, ask the site's administrator, who finds the reason in the agent's log."
)
ELSEWHERE: Final = not_executed(
    "The server on site sent this request to another address, which the agent does not follow. The site's "
    "administrator finds where in the agent's log, and should correct the server's url."
)


def by_status(status: int) -> Trouble:
    """What a status means whose response does not explain itself."""
    match status:
        case 401 | 403:
            return not_executed(
                f"The server on site refuses the agent's own credentials (HTTP {status}); yours were not "
                "asked for. The site's administrator should check its headers in agent.toml."
            )
        case 404 | 405:
            return not_executed(
                f"There is no MCP server of this kind at the address on site (HTTP {status}). The site's "
                "administrator should check the server's url, and its transport: "
                'an older server needs transport = "sse".'
            )
        case 413:
            return not_executed("The server on site says that the request is too large. Send less at once.")
        case 429:
            return not_executed(
                "The server on site says that it gets too many requests. Wait, then try again."
            )
        case _ if status < 500:
            return not_executed(f"The server on site refused the request (HTTP {status}).")
        case _:
            return outcome_unknown(f"The server on site failed (HTTP {status}). {_CHECK}")
