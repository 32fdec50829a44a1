"""Why bytes could not be read as a message, in words, and whose answer they would have been."""

import codecs
import re

import msgspec

from penstock.outcome import INVALID_REQUEST, PARSE_ERROR

ID_TAIL_BYTES = 4096 + 256
"""How much of the end of a line is searched for an id: the longest id and what stands around it."""

_PLACE = re.compile(r"\(byte (\d+)\)")
_NOT_FINITE = re.compile(rb"[\s:,\[]?-?(?:NaN|Infinity)")
_VERSION = rb'"jsonrpc"\s*+:\s*+"2\.0"\s*+'
_ID = rb'"id"\s*+:\s*+(?P<id>"(?:[^"\\]++|\\.)*+"|-?[0-9][0-9.eE+-]*+)\s*+'
_HEAD = re.compile(
    rb"\s*+\{\s*+(?P<before>" + _VERSION + rb",\s*+)?+(?:" + _ID + rb",\s*+)?+"
    rb"(?P<after>" + _VERSION + rb',\s*+)?+"(?:result|error)"\s*+:'
)
_TAIL = re.compile(
    rb",\s*+(?P<before>" + _VERSION + rb",\s*+)?+" + _ID + rb"(?P<after>,\s*+" + _VERSION + rb")?+\}\s*+\Z"
)


def cause(data: bytes, error: msgspec.DecodeError) -> tuple[int, str]:
    """The JSON-RPC code and a sentence for what msgspec refused as a JSON object.

    msgspec's own texts say what is wrong and at which byte, and hold nothing of the message.
    """
    if isinstance(error, msgspec.ValidationError):
        if data.lstrip().startswith(b"["):
            return INVALID_REQUEST, "The message is a batch: send one message at a time."
        return INVALID_REQUEST, "The message is not a JSON object: send one JSON-RPC message."
    if not data.strip():
        return PARSE_ERROR, "The message is empty: send one JSON-RPC message."
    if data.startswith(codecs.BOM_UTF8):
        return PARSE_ERROR, "The message starts with a byte order mark: send JSON without one."
    reason = str(error).removeprefix("JSON is malformed: ")
    place = _PLACE.search(reason)
    if place is not None and _NOT_FINITE.match(data, max(int(place[1]) - 1, 0)):
        return PARSE_ERROR, "The message holds NaN or Infinity, which JSON does not have: send null."
    return PARSE_ERROR, f"The message is not JSON: {reason[:1].lower()}{reason[1:]}."


def salvaged_id(line: bytes) -> bytes | None:
    """The raw id of an answer that is not readable as JSON, from its head or tail, where serializers put it.

    With it, a server that writes NaN or nests too deep is told apart from one that never answers. None when
    the line does not begin like a JSON-RPC 2.0 answer: a log line that has an "id" must not end a call.
    """
    head = _HEAD.match(line)
    if head is None:
        return None
    if head["id"] is not None:
        return head["id"] if head["before"] or head["after"] else None
    tail = _TAIL.search(line, max(len(line) - ID_TAIL_BYTES, head.end()))
    if tail is None or not (head["before"] or tail["before"] or tail["after"]):
        return None
    id: bytes = tail["id"]
    return id
