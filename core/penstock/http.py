"""Pure HTTP rules of the MCP endpoint, shared by the relay's edge and the agent's endpoint."""

from collections.abc import Iterator
from dataclasses import dataclass

Headers = tuple[tuple[str, str], ...]
"""Pairs of lower-case name and value; order and duplicates kept."""

JSON = "application/json"
EVENT_STREAM = "text/event-stream"
KEEP_ALIVE = b": keep-alive\n\n"

METHODS = ("GET", "POST", "DELETE")
HANDSHAKE = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""The revisions in which client and server agree on a version in `initialize`."""
MODERN = ("2026-07-28",)
"""Those in which each request says for itself of which revision it is, as far as they are known."""
VERSION = "mcp-protocol-version"
LISTEN = "subscriptions/listen"
"""The one method of 2026-07-28 whose answer lasts: it takes the place of GET."""
REQUEST_HEADERS = frozenset(
    {
        "accept",
        "content-type",
        "mcp-session-id",
        "mcp-protocol-version",
        "last-event-id",
        "mcp-method",
        "mcp-name",
    }
)
REQUEST_PREFIXES: tuple[str, ...] = ("mcp-param-",)
RESPONSE_HEADERS = frozenset(
    {"content-type", "mcp-session-id", "mcp-protocol-version", "allow", "retry-after"}
)
RESPONSE_STATUSES = frozenset(
    {200, 202, 204, 400, 403, 404, 405, 406, 409, 413, 415, 429, 500, 501, 503, 504}
)


def first(headers: Headers, name: str) -> str | None:
    """The first value of `name` (lower case), None when it is absent."""
    for key, value in headers:  # a third of the time of a generator, and a call asks a dozen times
        if key == name:
            return value
    return None


def every(headers: Headers, name: str) -> list[str]:
    """All values of `name` (lower case), in order."""
    return [value for key, value in headers if key == name]


def is_modern(version: str | None) -> bool:
    """Whether a request with this MCP-Protocol-Version is of the revisions without sessions (2026-07-28 on).

    Without the header it is of an older one; a version that nobody knows can only be a newer one.
    """
    return version is not None and version not in HANDSHAKE


def only_listens(method: str, headers: Headers) -> bool:
    """Whether the answer lasts for as long as the caller likes, so that nobody waits for its end."""
    if method != "POST":
        return method == "GET"
    return first(headers, "mcp-method") == LISTEN and is_modern(first(headers, VERSION))


def forwarded(headers: Headers) -> Headers:
    """Those request headers that travel to the agent; credentials, cookies and addresses never do."""
    return tuple(
        (name, value)
        for name, value in headers
        if name in REQUEST_HEADERS or name.startswith(REQUEST_PREFIXES)
    )


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that ends a request before its body counts: status, one sentence, extra headers."""

    status: int
    text: str
    headers: Headers = ()


def check(method: str, headers: Headers) -> Refusal | None:
    """What is wrong with a request before its body is looked at: first cause only, None when all is well."""
    if method not in METHODS:
        return Refusal(
            405, "This MCP endpoint answers GET, POST and DELETE.", (("allow", "GET, POST, DELETE"),)
        )
    if method != "POST" and any(is_modern(version) for version in every(headers, VERSION)):
        return Refusal(405, "Since 2026-07-28, MCP is POST only.", (("allow", "POST"),))
    if any(value.strip().lower() not in ("", "identity") for value in every(headers, "content-encoding")):
        return Refusal(415, "Request bodies must not be compressed: send without Content-Encoding.")
    if method == "POST" and not _is_json(every(headers, "content-type")):
        return Refusal(415, f"Send the message with 'Content-Type: {JSON}'.")
    accept = ",".join(every(headers, "accept"))
    if method == "POST":
        if accept.strip() and not (_accepts(accept, JSON) and _accepts(accept, EVENT_STREAM)):
            return Refusal(406, f"Send 'Accept: {JSON}, {EVENT_STREAM}': the answer may be either.")
    elif method == "GET" and not _accepts(accept, EVENT_STREAM):
        return Refusal(406, f"A GET opens an event stream: send 'Accept: {EVENT_STREAM}'.")
    return None


def check_stream(method: str, headers: Headers) -> Refusal | None:
    """The same for the event stream of HTTP+SSE (2024-11-05)."""
    if method != "GET":
        return Refusal(
            405,
            "An event stream of HTTP+SSE is opened with GET. Streamable HTTP is at the path .../mcp.",
            (("allow", "GET"),),
        )
    return check(method, _shape(headers))


def check_messages(method: str, headers: Headers) -> Refusal | None:
    """The same for the messages of HTTP+SSE: their answers are on the stream, so Accept does not count."""
    if method != "POST":
        return Refusal(405, "Messages of HTTP+SSE are sent with POST.", (("allow", "POST"),))
    return check(method, tuple(pair for pair in _shape(headers) if pair[0] != "accept"))


def _shape(headers: Headers) -> Headers:
    """Without the headers of later transports, which mean nothing in HTTP+SSE."""
    return tuple(pair for pair in headers if not pair[0].startswith("mcp-"))


def _is_json(values: list[str]) -> bool:
    if len(values) != 1:
        return False
    media_type, *parameters = (part.strip().lower() for part in values[0].split(";"))
    charsets = [
        part.removeprefix("charset=").strip('"') for part in parameters if part.startswith("charset=")
    ]
    return media_type == JSON and all(charset in ("utf-8", "utf8") for charset in charsets)


def _accepts(accept: str, media_type: str) -> bool:
    """Whether the most specific range that matches has a weight above zero (RFC 9110 §12.5.1)."""
    main = media_type.partition("/")[0]
    best, accepted = -1, False
    for media_range, weight in _ranges(accept):
        rank = {"*/*": 0, f"{main}/*": 1, media_type: 2}.get(media_range, -1)
        if rank > best or (rank == best and rank >= 0 and weight > 0):
            best, accepted = rank, weight > 0
    return accepted


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    for item in accept.split(","):
        media_range, *parameters = (part.strip().lower() for part in item.split(";"))
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 1.0  # a caller that writes nonsense still gets an answer
        yield media_range, weight


def sse_event(data: bytes, *, event_id: str | None = None, retry_ms: int | None = None) -> bytes:
    """One server-sent event of type "message"; `data` is one line (envelope.dump makes such lines).

    Raises ValueError for a line break in `data` or `event_id`: it would let a payload forge events.
    """
    if b"\n" in data or b"\r" in data:
        raise ValueError("The data of an event must be one line.")
    parts = [b"event: message\n"]
    if event_id is not None:
        if any(character in event_id for character in "\r\n\0"):
            raise ValueError("An event id must be one line.")
        parts.append(b"id: " + event_id.encode() + b"\n")
    if retry_ms is not None:
        parts.append(b"retry: %d\n" % retry_ms)
    parts += (b"data: ", data, b"\n\n")
    return b"".join(parts)
