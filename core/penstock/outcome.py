"""One table from internal errors to what the outside sees: JSON-RPC code, HTTP status, outcome, words."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import msgspec

NOT_EXECUTED = -32010
OUTCOME_UNKNOWN = -32011
DENIED = -32012
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL = -32603

META_KEY = "penstock/outcome"
"""Where a tool result says, for programs, what `outcome` says in the data of an error."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one code means outside: `outcome` and `retry_safe` are None where the request was merely wrong."""

    status: int
    outcome: str | None
    retry_safe: bool | None
    text: str


TABLE: Mapping[int, Row] = MappingProxyType(
    {
        NOT_EXECUTED: Row(
            503,
            "not_executed",
            True,
            "The request was not given to the server on site: it is safe to send it again.",
        ),
        OUTCOME_UNKNOWN: Row(
            504,
            "outcome_unknown",
            False,
            "The request may or may not have run on site: check what it changed before you send it again.",
        ),
        DENIED: Row(
            200,
            "denied",
            False,
            "The site does not allow this request: ask the site's administrator to expose it.",
        ),
        PARSE_ERROR: Row(
            400, None, None, "The body is not JSON as MCP needs it: send one JSON-RPC message in UTF-8."
        ),
        INVALID_REQUEST: Row(
            400,
            None,
            None,
            "The body is not a JSON-RPC 2.0 message: send one request, notification or response.",
        ),
        METHOD_NOT_FOUND: Row(
            200, None, None, "The server does not know this method: use one that it offers after initialize."
        ),
        INVALID_PARAMS: Row(
            200, None, None, "The params do not fit the method: correct them to what the server's list says."
        ),
        INTERNAL: Row(
            500,
            None,
            None,
            "Penstock failed inside: try again, and tell the relay's operator when it happens again.",
        ),
    }
)
HTTP_STATUS: Mapping[int, int] = MappingProxyType({code: row.status for code, row in TABLE.items()})


def rpc_error(
    id: bytes | None,
    code: int,
    message: str,
    *,
    exchange: str = "",
    retry_safe: bool | None = None,
    outcome: str | None = None,
) -> bytes:
    """A whole JSON-RPC error message, one line; `id` is raw JSON, None becomes null.

    An empty `message` takes the table's words. The data (outcome, exchange, retry_safe) is there when
    `outcome` is given or the table knows one for `code`; so is retry_safe: False where nobody knows.
    """
    row = TABLE.get(code)
    error: dict[str, object] = {
        "code": code,
        "message": message or (row.text if row else "The request failed."),
    }
    if row is not None:
        outcome = row.outcome if outcome is None else outcome
        retry_safe = row.retry_safe if retry_safe is None else retry_safe
    if outcome is not None:
        error["data"] = {"outcome": outcome, "exchange": exchange, "retry_safe": bool(retry_safe)}
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (id or b"null", msgspec.json.encode(error))


def tool_error(
    id: bytes, text: str, *, outcome: str, exchange: str = "", retry_safe: bool = False, modern: bool = False
) -> bytes:
    """A whole JSON-RPC response to tools/call whose result is an error that a model can read, one line.

    `modern`: for a request of 2026-07-28, where each result says of which type it is.
    """
    result: dict[str, object] = {
        "content": [{"type": "text", "text": text}],
        "isError": True,
        "_meta": {META_KEY: {"outcome": outcome, "exchange": exchange, "retry_safe": retry_safe}},
    }
    if modern:
        result = {"resultType": "complete", **result}
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (id, msgspec.json.encode(result))
