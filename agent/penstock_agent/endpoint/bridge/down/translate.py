"""Messages of 2026-07-28 as a server of the handshake era reads them, its answers as the caller does. Pure.

Only members of the envelope are added or taken out; everything else stays the bytes that it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from penstock import __version__
from penstock.envelope import Kind, Message, member, request, text_member
from penstock_agent.endpoint.meta import (
    ASKED,
    CAPABILITIES,
    CLIENT,
    LEVEL,
    LEVELS,
    SERVER,
    VERSION,
    severe_enough,
)
from penstock_agent.endpoint.modern.ladder import STATUS

#: What is agreed on with the server: the newest version of its era.
SPOKEN: Final = "2025-11-25"
#: Requests whose answers say how long they are good.
CACHED: Final = frozenset(
    {"tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"}
)

_NOT_FOUND: Final = -32002
_INVALID_PARAMS: Final = -32602
_URL_NEEDED: Final = -32042

_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
_ordered = msgspec.json.Encoder(order="deterministic").encode
_COMPLETE: Final = msgspec.Raw(b'"complete"')


@dataclass(frozen=True, slots=True)
class Said:
    """What the caller says of itself in ``_meta`` of a request."""

    capabilities: bytes
    """Raw JSON, an object."""
    client: bytes | None
    """Raw JSON, its name and version."""
    level: str | None
    """The least severe log message that it wants to see; None for none."""

    def may(self, method: str) -> bool:
        """Whether the server may ask this of the caller."""
        return member(self.capabilities, ASKED.get(method, "")) is not None


def said(message: Message) -> Said:
    """Of a request whose envelope has been found good."""
    meta = member(message.params or b"{}", "_meta") or b"{}"
    level = text_member(meta, LEVEL)
    return Said(member(meta, CAPABILITIES) or b"{}", member(meta, CLIENT), level if level in LEVELS else None)


def hello(who: Said) -> Message:
    """``initialize`` in the name of the caller, with what of its capabilities can be passed on."""
    capabilities = _members(who.capabilities)
    params = {
        "protocolVersion": SPOKEN,
        "capabilities": {name: capabilities[name] for name in ASKED.values() if name in capabilities},
        "clientInfo": msgspec.Raw(who.client)
        if who.client is not None
        else {"name": "penstock-agent", "version": __version__},
    }
    return request(b'"hello"', "initialize", _encode(params))


def for_server(message: Message) -> Message:
    """The request without what only the other era knows."""
    params = _members(message.params or b"{}")
    params.pop("inputResponses", None)
    params.pop("requestState", None)
    meta = _members(bytes(params.pop("_meta", msgspec.Raw(b"{}"))))
    kept = {name: value for name, value in meta.items() if name not in (VERSION, CAPABILITIES, CLIENT, LEVEL)}
    if kept:
        params["_meta"] = msgspec.Raw(_encode(kept))
    return Message(message.kind, message.id, message.method, _encode(params), None, None)


def token(message: Message) -> bool:
    """Whether the caller wants to hear of progress."""
    return member(message.params or b"{}", "_meta", "progressToken") is not None


def essence(message: Message) -> bytes:
    """What has to be the same when a call is continued: method and parameters, not what comes with them."""
    params = _members(message.params or b"{}")
    for name in ("_meta", "inputResponses", "requestState"):
        params.pop(name, None)
    # Numbers as they are spelled: callers may send such that no float, and no int of ours, can hold.
    parsed: object = json.loads(_encode(params), parse_int=_spelled, parse_float=_spelled)
    return _ordered([message.method, parsed])


def _spelled(number: str) -> msgspec.Raw:
    return msgspec.Raw(number.encode())


def brought(message: Message) -> tuple[str | None, dict[str, bytes]]:
    """The ``requestState`` and the ``inputResponses`` of a request. Raises ValueError for other forms."""
    params = _members(message.params or b"{}")
    state, responses = params.get("requestState"), params.get("inputResponses")
    try:
        text = None if state is None else msgspec.json.decode(state, type=str)
        found = {} if responses is None else msgspec.json.decode(responses, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as e:
        raise ValueError("requestState is a text and inputResponses an object.") from e
    return text, {name: bytes(value) for name, value in found.items()}


# Towards the caller.


def discovered(initialized: bytes, versions: Sequence[str]) -> bytes:
    """The result of ``server/discover`` from that of ``initialize``. Raises ValueError."""
    told = _members(initialized)
    capabilities = _members(bytes(told.get("capabilities", msgspec.Raw(b"{}"))))
    # Tasks of that era are another, experimental thing than the extension of this one.
    capabilities.pop("tasks", None)
    result: dict[str, object] = {
        "resultType": "complete",
        "supportedVersions": list(versions),
        "capabilities": capabilities,
    }
    if "instructions" in told:
        result["instructions"] = told["instructions"]
    result |= {"ttlMs": 0, "cacheScope": "private", "_meta": _named({}, initialized)}
    return _encode(result)


def result(method: str, given: bytes, initialized: bytes) -> bytes:
    """A result of the server with what 2026-07-28 wants in it. Raises ValueError if it is not an object."""
    members = _members(given)
    members.setdefault("resultType", _COMPLETE)
    if method in CACHED:
        members.setdefault("ttlMs", msgspec.Raw(b"0"))
        members.setdefault("cacheScope", msgspec.Raw(b'"private"'))
    meta = _members(bytes(members.get("_meta", msgspec.Raw(b"{}"))))
    members["_meta"] = msgspec.Raw(_encode(_named(meta, initialized)))
    return _encode(members)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a server wants of its caller: by key, the method and its raw parameters."""

    requests: Mapping[str, tuple[str, bytes]]

    def result(self, state: str, initialized: bytes) -> bytes:
        """The ``input_required`` result."""
        asked = {
            key: {"method": method, "params": msgspec.Raw(params)}
            for key, (method, params) in self.requests.items()
        }
        return _encode(
            {
                "resultType": "input_required",
                "inputRequests": asked,
                "requestState": state,
                "_meta": _named({}, initialized),
            }
        )


def error(raw: bytes) -> tuple[int, bytes] | Wanted:
    """HTTP status and error for the caller; what is wanted where the error says that something is."""
    try:
        members = _object(raw)
        code = msgspec.json.decode(members["code"], type=int)
    except (msgspec.DecodeError, KeyError, RecursionError):
        return 200, raw
    if code == _NOT_FOUND:
        members["code"] = msgspec.Raw(b"%d" % _INVALID_PARAMS)
        return STATUS[_INVALID_PARAMS], _encode(members)
    if code == _URL_NEEDED and (wanted := _urls(raw)) is not None:
        return wanted
    return STATUS.get(code, 200), raw


def answered(
    method: str, message: Message, id: bytes | None, initialized: bytes
) -> tuple[int, Message] | Wanted:
    """The HTTP status and the answer for the caller's ``id``, from the server's answer to a request of this
    method; what is wanted where the server wants something first. Raises ValueError.
    """
    if message.kind is Kind.RESPONSE:
        done = result(method, message.result or b"", initialized)
        return 200, Message(Kind.RESPONSE, id, None, None, done, None)
    found = error(message.error or b"{}")
    if isinstance(found, Wanted):
        return found
    return found[0], Message(Kind.ERROR, id, None, None, None, found[1])


def loud_enough(params: bytes | None, level: str) -> bool:
    """Whether a log message of the server is one that the caller wants to see."""
    told = text_member(params or b"{}", "level")
    return told in LEVELS and severe_enough(told, level)


def _urls(raw: bytes) -> Wanted | None:
    data = member(raw, "data", "elicitations")
    try:
        found = msgspec.json.decode(data or b"[]", type=list[dict[str, msgspec.Raw]])
    except msgspec.DecodeError:
        return None
    wanted: dict[str, tuple[str, bytes]] = {}
    for number, one in enumerate(found, 1):
        one.pop("elicitationId", None)
        one["mode"] = msgspec.Raw(b'"url"')
        wanted[f"url-{number}"] = ("elicitation/create", _encode(one))
    return Wanted(wanted) if wanted else None


def _named(meta: Mapping[str, msgspec.Raw], initialized: bytes) -> dict[str, msgspec.Raw]:
    server = member(initialized, "serverInfo")
    named = dict(meta)
    if server is not None:
        named.setdefault(SERVER, msgspec.Raw(server))
    return named


def _members(raw: bytes) -> dict[str, msgspec.Raw]:
    try:
        return _object(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as e:
        raise ValueError("It is not an object.") from e
