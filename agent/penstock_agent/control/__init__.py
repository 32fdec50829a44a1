"""The control socket: how the commands talk to the running agent.

One JSON object per line in each direction: ``{"verb": ..., "args": {...}}`` is answered by ``{"ok": {...}}``
or ``{"error": {"text": ..., "status": ...}}``. The socket is 0600; who asks is known from the kernel
(SO_PEERCRED), never from what the peer says.

A confined child has the agent's uid, and Landlock does not keep it from connecting to a socket whose path it
knows. So each request carries the token that lies in a file beside the socket, which a child cannot read.
"""

from penstock_agent.control.answers import (
    Approval,
    Approvals,
    Call,
    Calls,
    Link,
    Pause,
    Renewal,
    ServerStatus,
    Status,
    Tainted,
    TaintedPerson,
)
from penstock_agent.control.asking import (
    approvals,
    approve,
    ask,
    calls,
    link,
    pause,
    pin,
    renew,
    review,
    status,
    tainted,
    untaint,
)
from penstock_agent.control.listening import serve_control
from penstock_agent.control.wire import (
    MAX_ANSWER_BYTES,
    MAX_CONNECTIONS,
    MAX_REQUEST_BYTES,
    SOCKET_NAME,
    TOKEN_NAME,
    Args,
    ControlError,
    Handler,
    NotRunning,
    Peer,
    socket_path,
    socket_to_ask,
)

__all__ = [
    "MAX_ANSWER_BYTES",
    "MAX_CONNECTIONS",
    "MAX_REQUEST_BYTES",
    "SOCKET_NAME",
    "TOKEN_NAME",
    "Approval",
    "Approvals",
    "Args",
    "Call",
    "Calls",
    "ControlError",
    "Handler",
    "Link",
    "NotRunning",
    "Pause",
    "Peer",
    "Renewal",
    "ServerStatus",
    "Status",
    "Tainted",
    "TaintedPerson",
    "approvals",
    "approve",
    "ask",
    "calls",
    "link",
    "pause",
    "pin",
    "renew",
    "review",
    "serve_control",
    "socket_path",
    "socket_to_ask",
    "status",
    "tainted",
    "untaint",
]
