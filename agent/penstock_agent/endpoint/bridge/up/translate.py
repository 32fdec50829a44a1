"""Messages of the handshake era as a server of 2026-07-28 reads them, its answers as the client does. Pure.

Only members of the envelope are added or taken out; everything else stays the bytes that it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from penstock import http
from penstock.envelope import Kind, Message, member, text_member
from penstock_agent.endpoint.meta import (
    ASKED,
    ASKING,
    CAPABILITIES,
    CLIENT,
    LEVEL,
    SERVER,
    SUBSCRIPTION,
    VERSION,
)

MOST_ASKED: Final = 16
"""Questions in one ``input_required``."""
#: The first version whose elicitations say of which mode they are.
_MODES: Final = "2025-11-25"
#: Members of results that only 2026-07-28 knows.
_OF_RESULTS: Final = ("resultType", "ttlMs", "cacheScope")

_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Client:
    """What the client said in ``initialize``."""

    version: str
    """The one that is agreed on: the client's, where we know it."""
    capabilities: bytes
    """Raw JSON, an object: those that mean the same to a server of 2026-07-28."""
    info: bytes
    """Raw JSON, its name and version."""

    @classmethod
    def of(cls, hello: Message) -> Client:
        """From its ``initialize``."""
        params = hello.params or b"{}"
        version = text_member(params, "protocolVersion")
        capabilities = _members(member(params, "capabilities") or b"{}")
        capabilities.pop("tasks", None)  # of 2025-11-25: another thing than the extension of that name
        info = member(params, "clientInfo") or _encode({"name": "unknown", "version": "unknown"})
        agreed = version if version in http.HANDSHAKE else http.HANDSHAKE[-1]
        return cls(agreed, _encode(capabilities), info)

    def may_be_asked(self, method: str, params: bytes) -> bool:
        """Whether the client has said that it answers such a question."""
        capability = ASKED.get(method)
        if capability is None:
            return False
        found = member(self.capabilities, capability)
        if found is None:
            return False
        return text_member(params, "mode") != "url" or member(found, "url") is not None


def for_server(message: Message, client: Client, level: str | None, extra: Mapping[str, bytes]) -> Message:
    """The request with what 2026-07-28 wants in it. ``level``: log messages that the client wants to see;
    ``extra``: further members of the parameters, raw. Raises ValueError for parameters that are no object.
    """
    params = _members(message.params or b"{}")
    meta = _members(bytes(params.get("_meta", msgspec.Raw(b"{}"))))
    meta[VERSION] = msgspec.Raw(b'"%b"' % http.MODERN[-1].encode())
    meta[CAPABILITIES] = msgspec.Raw(client.capabilities)
    meta[CLIENT] = msgspec.Raw(client.info)
    if level is not None:
        meta[LEVEL] = msgspec.Raw(b'"%b"' % level.encode())
    params["_meta"] = msgspec.Raw(_encode(meta))
    for name, value in extra.items():
        params[name] = msgspec.Raw(value)
    return Message(message.kind, message.id, message.method, _encode(params), None, None)


# Towards the client.


def initialized(discovered: bytes, client: Client, name: str) -> bytes:
    """The result of ``initialize`` from that of ``server/discover``. ``name``: of a server that does not say
    its own.
    """
    told = _members(discovered)
    server = member(discovered, "_meta", SERVER) or _encode({"name": name, "version": "unknown"})
    result: dict[str, object] = {
        "protocolVersion": client.version,
        "capabilities": told.get("capabilities", msgspec.Raw(b"{}")),
        "serverInfo": msgspec.Raw(server),
    }
    if "instructions" in told:
        result["instructions"] = told["instructions"]
    return _encode(result)


def result(given: bytes) -> bytes:
    """A result without what only 2026-07-28 knows. The same bytes where there is nothing to take out."""
    members = _members(given)
    taken: list[str] = [name for name in _OF_RESULTS if name in members]
    if text_member(given, "resultType") not in (None, "complete"):
        taken.remove("resultType")  # of an extension, which has made it up
    for name in taken:
        del members[name]
    stripped = _without(bytes(members["_meta"]), SERVER) if "_meta" in members else None
    if stripped is not None:
        taken.append("_meta")
        if stripped == b"{}":
            del members["_meta"]
        else:
            members["_meta"] = msgspec.Raw(stripped)
    return _encode(members) if taken else given


def notified(message: Message) -> Message:
    """A notification of a subscription, without saying of which."""
    params = message.params or b"{}"
    meta = member(params, "_meta")
    stripped = None if meta is None else _without(meta, SUBSCRIPTION)
    if stripped is None:
        return message
    members = _members(params)
    if stripped == b"{}":
        del members["_meta"]
    else:
        members["_meta"] = msgspec.Raw(stripped)
    return Message(Kind.NOTIFICATION, None, message.method, _encode(members) if members else None, None, None)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a server wants before it answers."""

    questions: Mapping[str, tuple[str, bytes]]
    """By key, the method and its raw parameters."""
    state: bytes | None
    """``requestState``, raw."""


def wanted(request: Message, answer: Message) -> Wanted | None:
    """What an answer wants first; None for one that is whole. Raises ValueError for a broken one."""
    found = answer.result
    if found is None or request.method not in ASKING or text_member(found, "resultType") != "input_required":
        return None
    members = _members(found)
    asked = _members(bytes(members.get("inputRequests", msgspec.Raw(b"{}"))))
    if len(asked) > MOST_ASKED:
        raise ValueError(f"It asks more than {MOST_ASKED} questions at once.")
    questions: dict[str, tuple[str, bytes]] = {}
    for key, raw in asked.items():
        method = text_member(bytes(raw), "method")
        if method is None:
            raise ValueError("A question names no method.")
        questions[key] = (method, member(bytes(raw), "params") or b"{}")
    state = members.get("requestState")
    if not questions and state is None:
        raise ValueError("It wants input and does not say which.")
    return Wanted(questions, None if state is None else bytes(state))


def question(method: str, params: bytes, client: Client, unique: str) -> bytes:
    """The raw parameters of a question as the client's version has them. ``unique``: an id for an
    elicitation that has none of its own.
    """
    if method != "elicitation/create":
        return params
    members = _members(params)
    if text_member(params, "mode") == "url":
        members.setdefault("elicitationId", msgspec.Raw(_encode(unique)))
    elif client.version < _MODES and "mode" in members:
        del members["mode"]
    else:
        return params
    return _encode(members)


def brought(found: Wanted, responses: Mapping[str, bytes]) -> dict[str, bytes]:
    """What is added to a request that is asked again."""
    extra: dict[str, bytes] = {}
    if responses:
        extra["inputResponses"] = _encode({key: msgspec.Raw(raw) for key, raw in responses.items()})
    if found.state is not None:
        extra["requestState"] = found.state
    return extra


def _without(meta: bytes, name: str) -> bytes | None:
    """The object without this member; None where it has none."""
    try:
        members = _object(meta)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    if name not in members:
        return None
    del members[name]
    return _encode(members)


def _members(raw: bytes) -> dict[str, msgspec.Raw]:
    try:
        return _object(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as e:
        raise ValueError("It is not an object.") from e
