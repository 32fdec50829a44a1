"""What a modern request must say, in its headers and in itself. Pure.

See 2026-07-28, basic/transports/streamable-http. The first rung that breaks answers. Versions are compared
with what the server speaks elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from penstock.envelope import VERSION_KEY, Message, members, text
from penstock.http import VERSION, Headers, every
from penstock.outcome import INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, PARSE_ERROR, rpc_error
from penstock_agent.catalogue.headervalue import decoded
from penstock_agent.endpoint.meta import CAPABILITIES

HEADER_MISMATCH: Final = -32020
MISSING_CAPABILITY: Final = -32021
UNSUPPORTED_VERSION: Final = -32022

STATUS: Final[Mapping[int, int]] = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    INVALID_PARAMS: 400,
    HEADER_MISMATCH: 400,
    MISSING_CAPABILITY: 400,
    UNSUPPORTED_VERSION: 400,
    METHOD_NOT_FOUND: 404,
}
"""HTTP status of an error by its code; all others are 200."""

METHOD: Final = "mcp-method"
NAME: Final = "mcp-name"
NAMED: Final[Mapping[str, str]] = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
"""Methods that name one thing, and the parameter that does: it is repeated in Mcp-Name."""

REMOVED: Final = frozenset(
    {
        "initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe",
        "tasks/list", "tasks/result",
    }
)  # fmt: skip
"""Methods that earlier revisions had and this one has not: no server is asked."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a request is refused. ``text`` is for people; it repeats nothing that the caller sent."""

    code: int
    text: str

    @property
    def status(self) -> int:
        return STATUS.get(self.code, 200)

    def answer(self, id: bytes | None) -> bytes:
        return rpc_error(id, self.code, self.text)


def repeated(headers: Headers) -> Rejection | None:
    """A header that decides and stands twice would be read in two ways."""
    for name in (VERSION, METHOD, NAME):
        if len(every(headers, name)) > 1:
            return Rejection(HEADER_MISMATCH, f"The header {name} stands twice: send it once.")
    return None


def check(request: Message, headers: Headers) -> Rejection | None:
    """What is wrong with a request; None when it may be looked at further."""
    if (rejection := repeated(headers)) is not None:
        return rejection
    params = None if request.params is None else members(request.params)
    meta = None if params is None or "_meta" not in params else members(bytes(params["_meta"]))
    if params is None or meta is None:
        return Rejection(
            INVALID_PARAMS, f"params._meta must be an object with {VERSION_KEY} and {CAPABILITIES}."
        )
    missing = [key for key in (VERSION_KEY, CAPABILITIES) if key not in meta]
    if missing:
        return Rejection(INVALID_PARAMS, f"params._meta lacks {' and '.join(missing)}.")
    version = _one(headers, VERSION)
    if version is None or version != text(bytes(meta[VERSION_KEY])):
        return _mismatch("MCP-Protocol-Version", f"the {VERSION_KEY} of params._meta")
    if _one(headers, METHOD) != request.method:
        return _mismatch("Mcp-Method", "the method")
    key = NAMED.get(request.method or "")
    return None if key is None else _name(key, params.get(key), _one(headers, NAME))


def _name(key: str, raw: msgspec.Raw | None, given: str | None) -> Rejection | None:
    named = None if raw is None else bytes(raw)
    if named in (None, b"null"):
        # What the body does not name, the server will miss. But nobody may be told that it names something.
        return None if given is None else _mismatch("Mcp-Name", f"params.{key}")
    said = None if given is None else decoded(given)
    if said is None or said != text(named):
        return _mismatch("Mcp-Name", f"params.{key}")
    return None


def _one(headers: Headers, name: str) -> str | None:
    found = every(headers, name)
    return found[0] if found else None


def _mismatch(header: str, what: str) -> Rejection:
    return Rejection(
        HEADER_MISMATCH,
        f"The header {header} does not say what {what} in the body says: send the same in both.",
    )
