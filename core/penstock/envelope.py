"""The one strict parser of JSON-RPC envelopes.

A message is judged by its envelope and travels on re-emitted from its parts (`dump`): params, result, error
and id keep their exact bytes, members that we do not know cannot ride along, and no parser behind us can
see another envelope than we did. Callers' messages are checked in every member (two parsers must never read
them differently); children's only as far as is cheap, because their results are large.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import msgspec

from penstock import diagnosis, lookalike, strictjson
from penstock.outcome import INVALID_REQUEST, PARSE_ERROR

MAX_DEPTH = 64
"""Arrays and objects inside each other in a caller's message."""
MAX_KEYS = 10_000
"""Object members in a caller's message, at all levels together."""
MAX_CONTAINERS = 100_000
"""Arrays and objects in a caller's message, all together."""
MAX_BATCH = 100
"""Messages in one array of a caller."""
MAX_ID_BYTES = 4096
"""Raw bytes of an id: it is kept for as long as the request runs."""


VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
"""Where in the `_meta` of its params a request says which revision it is of (2026-07-28, basic)."""


class EnvelopeError(ValueError):
    """Not one acceptable message. `code` is a JSON-RPC code, the text a sentence without payload.

    `id` is the raw id when it could be read, else None. For a child's message it is given only when the
    message is an answer, so that the waiting call can be told; an id of the child's own request is another
    number space.
    """

    def __init__(self, code: int, text: str, id: bytes | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.id = id


class Kind(Enum):
    REQUEST = "request"
    NOTIFICATION = "notification"
    RESPONSE = "response"
    ERROR = "error"


@dataclass(frozen=True, slots=True, repr=False)
class Message:
    """One JSON-RPC message; id, params, result and error are raw JSON, byte for byte as they came.

    `id` is None for a notification, and for an error whose sender could not tell the id.
    """

    kind: Kind
    id: bytes | None
    method: str | None
    params: bytes | None
    result: bytes | None
    error: bytes | None

    def __repr__(self) -> str:
        # Messages end up in assertion texts and debug lines: show sizes, never payload.
        sizes = {"params": self.params, "result": self.result, "error": self.error}
        shown = "".join(f" {name}={len(raw)} bytes" for name, raw in sizes.items() if raw is not None)
        return f"<Message {self.kind.value}{shown}>"


_ABSENT = msgspec.Raw()


class _Parts(msgspec.Struct):
    jsonrpc: msgspec.Raw = _ABSENT
    id: msgspec.Raw = _ABSENT
    method: msgspec.Raw = _ABSENT
    params: msgspec.Raw = _ABSENT
    result: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT


_parts = msgspec.json.Decoder(_Parts)
_several_parts = msgspec.json.Decoder(list[_Parts])
_several = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])

_TOO_MANY = {"keys": "object members", "containers": "arrays and objects"}
_ID_STARTS = frozenset(bytes((byte,)) for byte in b'"-0123456789')


def parse_caller(data: bytes) -> Message:
    """Parse a caller's message, checked in all its members. Raises EnvelopeError, nothing else.

    Refused: anything but UTF-8, a byte order mark, NaN and Infinity, lone surrogates, duplicate keys at any
    level, what is above MAX_DEPTH, MAX_KEYS or MAX_CONTAINERS, batches, unknown envelope members, and members
    that another parser may take for one that we judge by ("Method", "paramſ"). Numbers keep their text.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise EnvelopeError(PARSE_ERROR, "The message is not UTF-8: send JSON in UTF-8.") from None
    try:
        parts = _parts.decode(data)
    except RecursionError:
        raise _too_deep(None) from None
    except msgspec.DecodeError as error:
        raise _unreadable(data, error, _caller_id) from None
    id = _caller_id(parts)
    above = strictjson.exceeds(data, depth=MAX_DEPTH, keys=MAX_KEYS, containers=MAX_CONTAINERS)
    if above == "depth":
        raise _too_deep(id)
    if above is not None:
        raise EnvelopeError(
            PARSE_ERROR, f"The message has too many {_TOO_MANY[above]}: send less at once.", id
        )
    try:
        tree = strictjson.tree(text)
    except strictjson.DuplicateKey:
        if strictjson.top_level_keys(text).count("id") > 1:
            id = None
        raise EnvelopeError(
            PARSE_ERROR, "The message has a key twice in one object: send each key once.", id
        ) from None
    objection = lookalike.objection(tree)
    if objection is not None:
        raise EnvelopeError(INVALID_REQUEST, objection, id)
    return _message(parts, _caller_id)


def is_batch(data: bytes) -> bool:
    """Whether this is an array, as far as its first character says."""
    return data.lstrip(b" \t\r\n").startswith(b"[")


def parse_batch(data: bytes) -> list[Message]:
    """Parse several messages of a caller in one array, each as strictly as one that comes alone.

    All of them, or none: one that is refused refuses the array. Raises EnvelopeError, nothing else. Only
    MCP 2025-03-26 has batches.
    """
    above = strictjson.exceeds(data, depth=MAX_DEPTH + 1, keys=MAX_KEYS, containers=MAX_CONTAINERS)
    if above == "depth":
        raise _too_deep(None)
    if above is not None:
        raise EnvelopeError(PARSE_ERROR, f"The batch has too many {_TOO_MANY[above]}: send less at once.")
    try:
        count = len(_several_parts.decode(data))  # stops at the first that is no object
        parts = _several.decode(data) if count <= MAX_BATCH else []
    except RecursionError:
        raise _too_deep(None) from None
    except msgspec.ValidationError:
        raise EnvelopeError(INVALID_REQUEST, "A batch is an array of JSON-RPC messages.") from None
    except msgspec.DecodeError as error:
        raise _unreadable(data, error, lambda _: None) from None
    if count > MAX_BATCH:
        raise EnvelopeError(INVALID_REQUEST, f"A batch has at most {MAX_BATCH} messages: send several.")
    if not count:
        raise EnvelopeError(INVALID_REQUEST, "The batch is empty: send at least one message.")
    return [parse_caller(bytes(part)) for part in parts]


def parse_child(line: bytes) -> Message:
    """Parse one line from a child; only the envelope is looked at. Raises EnvelopeError, nothing else.

    Refused: anything but UTF-8 (looked for in the whole line), lone surrogate escapes, what is not JSON, and
    nesting of about a thousand. A key twice in the envelope is not looked for: the last one counts, here and,
    since `dump` writes the message from its parts, for everyone who reads it after us. The same goes for
    members that are not of the envelope: they end here.
    """
    try:
        parts = _parts.decode(line)
    except RecursionError:
        raise _too_deep(_salvaged_id(line)) from None
    except msgspec.DecodeError as error:
        raise _unreadable(line, error, _answer_id, _salvaged_id(line)) from None
    if not strictjson.is_utf8(line):  # msgspec does not look inside what it only skips
        raise EnvelopeError(
            PARSE_ERROR, "The message holds bytes that are not UTF-8: write JSON in UTF-8.", _answer_id(parts)
        )
    return _message(parts, _answer_id)


def dump(message: Message) -> bytes:
    """The message as one line of JSON without a line end, its envelope in canonical form.

    Line breaks in the raw parts become spaces: in JSON they can only be whitespace between tokens.
    """
    pieces = [b'{"jsonrpc":"2.0"']
    if message.id is not None:
        pieces += (b',"id":', message.id)
    elif message.kind is Kind.ERROR:
        pieces.append(b',"id":null')
    if message.method is not None:
        pieces += (b',"method":', msgspec.json.encode(message.method))
    if message.params is not None:
        pieces += (b',"params":', _one_line(message.params))
    if message.result is not None:
        pieces += (b',"result":', _one_line(message.result))
    if message.error is not None:
        pieces += (b',"error":', _one_line(message.error))
    pieces.append(b"}")
    return b"".join(pieces)


def with_id(message: Message, id: bytes | None) -> Message:
    """The same message under another raw id."""
    return Message(message.kind, id, message.method, message.params, message.result, message.error)


def request(id: bytes, method: str, params: bytes | None) -> Message:
    """A request of our own; `id` and `params` are raw JSON."""
    return Message(Kind.REQUEST, id, method, params, None, None)


def notification(method: str, params: bytes | None) -> Message:
    """A notification of our own; `params` is raw JSON."""
    return Message(Kind.NOTIFICATION, None, method, params, None, None)


def id_key(raw: bytes) -> bytes:
    """A key for comparing ids and tokens: equal for equal values, and the JSON type is part of it.

    Strings are compared by their characters however they were escaped; numbers by their text, because two
    spellings of one number need not be the same number to the one who sent it. Raises EnvelopeError for a
    string that is not one.
    """
    raw = raw.strip()
    if not raw.startswith(b'"'):
        return raw
    try:
        return b'"' + _text.decode(raw).encode()
    except (msgspec.DecodeError, UnicodeError):
        raise EnvelopeError(INVALID_REQUEST, "The id or token is not a JSON string.") from None


def member(raw_object: bytes, *path: str) -> bytes | None:
    """The raw bytes of a nested member; None when it is absent or something on the way is not an object."""
    raw = raw_object
    for name in path:
        found = members(raw)
        if found is None or name not in found:
            return None
        raw = bytes(found[name])
    return raw


def members(raw_object: bytes) -> dict[str, msgspec.Raw] | None:
    """The members of a raw object, each raw; None for anything else. For whoever needs several of them."""
    try:
        return _members.decode(raw_object)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def text(raw: bytes) -> str | None:
    """What a raw value says when it is a JSON string, else None."""
    try:
        return _text.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def replaced(raw_object: bytes, value: bytes, *path: str) -> bytes:
    """The raw object with another raw value of one nested member, which is added where it is missing.

    All other values keep their bytes. Raises ValueError when something on the way is not an object.
    """
    found = members(raw_object)
    if found is None:
        raise ValueError("Not a JSON object.")
    name, *rest = path
    if rest:
        value = replaced(bytes(found.get(name, b"{}")), value, *rest)
    found[name] = msgspec.Raw(value)
    return msgspec.json.encode(found)


def is_modern(message: Message) -> bool:
    """Whether a caller's request says in itself which revision it is of, as requests do since 2026-07-28."""
    return message.params is not None and text_member(message.params, "_meta", VERSION_KEY) is not None


def text_member(raw_object: bytes, *path: str) -> str | None:
    """The nested member when it is a JSON string, else None."""
    raw = member(raw_object, *path)
    return None if raw is None else text(raw)


# What a message is ---------------------------------------------------------------------------------------


def _message(parts: _Parts, readable_id: Callable[[_Parts], bytes | None]) -> Message:
    def refused(text: str) -> EnvelopeError:
        return EnvelopeError(INVALID_REQUEST, text, readable_id(parts))

    if not _is_version_2(parts):
        raise refused('The message does not say "jsonrpc": "2.0": send JSON-RPC 2.0.')
    id = _raw(parts.id)
    if id not in (None, b"null") and not _is_id(id):
        raise refused(f"The id must be a string or a number, of at most {MAX_ID_BYTES} bytes.")
    if parts.method is not _ABSENT:
        return _question(parts, id, refused)
    return _answer(parts, None if id == b"null" else id, refused)


def _question(parts: _Parts, id: bytes | None, refused: Callable[[str], EnvelopeError]) -> Message:
    try:
        method = _text.decode(parts.method)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise refused("The method must be a string.") from None
    if parts.result is not _ABSENT or parts.error is not _ABSENT:
        raise refused("The message has a method and a result or error: it can only be one of them.")
    if id == b"null":
        raise refused("The id must not be null: give a request a string or number, a notification none.")
    params = _raw(parts.params)
    if params == b"null":  # some serializers write what is absent as null
        params = None
    if params is not None and not params.startswith(b"{"):
        raise refused("The params must be an object.")
    kind = Kind.NOTIFICATION if id is None else Kind.REQUEST
    return Message(kind, id, method, params, None, None)


def _answer(parts: _Parts, id: bytes | None, refused: Callable[[str], EnvelopeError]) -> Message:
    if _raw(parts.params) not in (None, b"null"):
        raise refused("The message has params and no method: put the method in, or leave the params out.")
    result, error = _raw(parts.result), _raw(parts.error)
    if result is not None and error is not None:  # null for what is absent, again
        if error == b"null":
            error = None
        elif result == b"null":
            result = None
        else:
            raise refused("The message has both a result and an error: it can only have one.")
    if error is not None:
        if not error.startswith(b"{"):
            raise refused("The error must be an object.")
        return Message(Kind.ERROR, id, None, None, None, error)
    if result is None:
        raise refused("The message has no method, no result and no error: send one of them.")
    if id is None:
        raise refused("The response has no id: it must repeat that of the request.")
    return Message(Kind.RESPONSE, id, None, None, result, None)


def _raw(part: msgspec.Raw) -> bytes | None:
    return None if part is _ABSENT else bytes(part)  # the one copy that a large result costs


def _is_version_2(parts: _Parts) -> bool:
    raw = bytes(parts.jsonrpc)
    try:
        return raw == b'"2.0"' or (raw.startswith(b'"') and id_key(raw) == b'"2.0')
    except EnvelopeError:
        return False


def _is_id(raw: bytes) -> bool:
    if len(raw) > MAX_ID_BYTES or raw[:1] not in _ID_STARTS:
        return False
    try:
        id_key(raw)
    except EnvelopeError:
        return False
    return True


def _caller_id(parts: _Parts) -> bytes | None:
    id = _raw(parts.id)
    return id if id is not None and _is_id(id) else None


def _answer_id(parts: _Parts) -> bytes | None:
    answers = parts.method is _ABSENT and not (parts.result is _ABSENT and parts.error is _ABSENT)
    return _caller_id(parts) if answers and _is_version_2(parts) else None


def _salvaged_id(line: bytes) -> bytes | None:
    id = diagnosis.salvaged_id(line)
    return id if id is not None and _is_id(id) else None


def _one_line(raw: bytes) -> bytes:
    if b"\n" in raw:
        raw = raw.replace(b"\n", b" ")
    if b"\r" in raw:
        raw = raw.replace(b"\r", b" ")
    return raw


# What is wrong with it -----------------------------------------------------------------------------------


def _too_deep(id: bytes | None) -> EnvelopeError:
    return EnvelopeError(PARSE_ERROR, "The message is nested too deep: send flatter JSON.", id)


def _unreadable(
    data: bytes,
    error: msgspec.DecodeError,
    readable_id: Callable[[_Parts], bytes | None],
    salvaged_id: bytes | None = None,
) -> EnvelopeError:
    if b"\\u" in data:
        try:
            parts = _parts.decode(strictjson.without_surrogates(data))
        except (msgspec.DecodeError, RecursionError):
            pass  # broken in another way as well
        else:
            id = readable_id(parts)
            return EnvelopeError(
                PARSE_ERROR,
                "The message holds half of a surrogate pair (\\ud800 to \\udfff), which is no character: "
                "cut text between characters, not inside them.",
                None if id is None or strictjson.REPLACEMENT in id else id,
            )
    code, text = diagnosis.cause(data, error)
    return EnvelopeError(code, text, salvaged_id)
