"""What goes to a server over HTTP means, and what comes back. Pure.

A line with a modern envelope (2026-07-28: the protocol version in ``params._meta``) is a request of its own;
every other line belongs to the conversation that ``initialize`` began.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Final

import msgspec

from penstock.envelope import (
    EnvelopeError,
    Kind,
    Message,
    dump,
    id_key,
    parse_child,
    text_member,
    with_id,
)
from penstock.http import Headers

CANCELLED: Final = "notifications/cancelled"
INITIALIZE: Final = "initialize"
INITIALIZED: Final = "notifications/initialized"
VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
MAX_BATCH: Final = 1024
"""Messages in one JSON array (2025-03-26)."""
MAX_SESSION_ID: Final = 1024

PARAM_PREFIX: Final = "mcp-param-"
#: Which member of the params a request is about, for Mcp-Name.
_NAMED: Final = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}

_SENTINEL = re.compile(r"=\?base64\?.*\?=", re.DOTALL)
_PLAIN = re.compile(r"[\x20-\x7e]*")
_VISIBLE = re.compile(r"[\x21-\x7e]+")


class _Out(msgspec.Struct):
    id: msgspec.Raw = msgspec.Raw()
    method: str = ""
    params: msgspec.Raw = msgspec.Raw()


_out = msgspec.json.Decoder(_Out).decode


class _In(msgspec.Struct):
    id: msgspec.Raw = msgspec.Raw()
    method: msgspec.Raw = msgspec.Raw()


_in = msgspec.json.Decoder(_In).decode
_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What one line to the server is. ``version`` and ``name`` only for one with a modern envelope."""

    kind: Kind
    method: str = ""
    id: bytes | None = None
    version: str | None = None
    name: str | None = None
    cancels: bytes | None = None
    """For ``notifications/cancelled``: the key of the id that it takes back."""

    @classmethod
    def of(cls, line: bytes) -> Outgoing:
        """``line`` was written by this agent, in canonical form; its params are a caller's."""
        parts = _out(line)
        id, params = bytes(parts.id) or None, bytes(parts.params)
        if not parts.method:
            return cls(Kind.RESPONSE, id=id)
        method = parts.method
        if id is None:
            return cls(Kind.NOTIFICATION, method, cancels=_cancelled(params) if method == CANCELLED else None)
        version = None
        # Few params hold the key, and looking for it must not cost those that do not. One that somebody
        # escaped is found as well: the server finds it too.
        if b"protocolVersion" in params or b"\\u" in params:
            version = text_member(params, "_meta", VERSION_KEY)
        name = None
        if version is not None and method in _NAMED:
            name = text_member(params, _NAMED[method])
        return cls(Kind.REQUEST, method, id, version, name)

    @property
    def modern(self) -> bool:
        return self.version is not None


def encode(value: str) -> str:
    """A value as a header can carry it (2026-07-28, Value Encoding)."""
    if _PLAIN.fullmatch(value) and value == value.strip() and not _SENTINEL.fullmatch(value):
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="


@dataclass(slots=True)
class Handshake:
    """What ``initialize`` settled: the session, and the version that both sides speak."""

    session_id: str | None = None
    version: str | None = None

    def met(self, session_id: str | None, answer: bytes) -> None:
        """The server answered ``initialize``."""
        version = text_member(answer, "result", "protocolVersion")
        if version is None:
            return
        self.version = version if _VISIBLE.fullmatch(version[:64]) else None
        usable = session_id is not None and len(session_id) <= MAX_SESSION_ID
        self.session_id = session_id if usable and _VISIBLE.fullmatch(session_id or "") else None

    def headers(self, out: Outgoing | None, params: Headers = ()) -> dict[str, str]:
        """For the POST of one line, or with None for GET and DELETE. ``params``: Mcp-Param-*, as they are to
        be sent; other names are left out.
        """
        if out is not None and out.version is not None:
            modern = {"MCP-Protocol-Version": encode(out.version), "Mcp-Method": encode(out.method)}
            if out.name is not None:
                modern["Mcp-Name"] = encode(out.name)
            modern.update((name, value) for name, value in params if name.lower().startswith(PARAM_PREFIX))
            return modern
        found = {}
        if self.session_id is not None:
            found["Mcp-Session-Id"] = self.session_id
        if self.version is not None:
            found["MCP-Protocol-Version"] = self.version
        return found


@dataclass(slots=True)
class Cursor:
    """Where an event stream stands, over all its responses."""

    last_id: str | None = None
    retry_s: float = 1.0

    def moved(self, last_id: str | None, retry_s: float | None) -> None:
        """What the parser of the newest response knows."""
        self.last_id = last_id if last_id is not None else self.last_id
        self.retry_s = retry_s if retry_s is not None else self.retry_s

    def headers(self) -> dict[str, str]:
        return {} if self.last_id is None else {"Last-Event-ID": self.last_id}


def answers(line: bytes) -> bytes | None:
    """The key of the request that a line of the server answers; None when it answers none."""
    try:
        parts = _in(line)
        raw = bytes(parts.id)
        return id_key(raw) if raw and raw != b"null" and not bytes(parts.method) else None
    except (msgspec.DecodeError, RecursionError, UnicodeError, EnvelopeError):
        return None


def messages(body: bytes) -> list[bytes]:
    """The messages in a JSON body: one, or those of a batch. What is no JSON comes back as it is."""
    body = body.strip()
    if not body.startswith(b"["):
        return [body] if body else []
    try:
        found = _array(body)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return [body]
    return [bytes(one) for one in found[:MAX_BATCH]]


def refusal(body: bytes, id: bytes) -> bytes | None:
    """The JSON-RPC error in the body of a failed request, as the answer to that request; None when there is
    none. Errors of the transport often carry no id, or one of nobody.
    """
    try:
        message = parse_child(body)
    except EnvelopeError:
        return None
    return dump(with_id(message, id)) if message.kind is Kind.ERROR else None


def session_lost(status: int, body: bytes) -> bool:
    """Whether an answer to a message with a session id says that there is no such session.

    404 is what the specification asks for. Servers that keep one transport for each session often answer 400
    instead, with the code of the official TypeScript example and words about the session.
    """
    if status == 404:
        return True
    if status != 400:
        return False
    try:
        message = parse_child(body)
    except EnvelopeError:
        return False
    if message.kind is not Kind.ERROR or message.error is None:
        return False
    text = (text_member(message.error, "message") or "").lower()
    return _code(message) in (-32000, -32001, -32600) and ("session" in text or "not initialized" in text)


def media_type(header: str | None) -> str:
    """``application/json`` of ``application/json; charset=utf-8``."""
    return (header or "").partition(";")[0].strip().lower()


def _code(message: Message) -> int:
    try:
        return msgspec.json.decode(message.error or b"", type=_Error).code
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return 0


class _Error(msgspec.Struct):
    code: int = 0


class _Cancelled(msgspec.Struct):
    request_id: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="requestId")


def _cancelled(params: bytes) -> bytes | None:
    try:
        raw = bytes(msgspec.json.decode(params, type=_Cancelled).request_id)
        return id_key(raw) if raw else None
    except (msgspec.DecodeError, RecursionError, UnicodeError, EnvelopeError):
        return None
