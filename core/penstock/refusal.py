"""Why the relay does not let an agent in: the body of a refused link, and an answer to a renewal.

JSON, so that a reason can be added; a reader that does not know one asks again later.
"""

import re
from typing import Annotated

import msgspec

MAX_BYTES = 48 * 1024
MAX_TEXT = 1000
MAX_STATEMENT = 16 * 1024

REVOKED = "revoked"
"""For good: the certificate was revoked. Only the statement, signed by the CA, makes an agent believe it."""
LOCKED = "locked"
"""Two machines used this identity; the relay's operator decides."""
WAITING = "waiting"
"""The site wants each agent approved by its fingerprint, and nobody has done that yet."""
SUPERSEDED = "superseded"
"""A newer certificate of this agent is in use."""
UNKNOWN = "unknown"
"""The relay has no record of this certificate. It may have been restored from an older backup."""
EXPIRED = "expired"
"""The certificate ended so long ago that it cannot be renewed either."""
MALFORMED = "malformed"
"""The message, the certificate request or the proof cannot be accepted."""
REASONS = frozenset({REVOKED, LOCKED, WAITING, SUPERSEDED, UNKNOWN, EXPIRED, MALFORMED})

_REASON = re.compile(r"[a-z_]{1,32}")


class BadRefusal(ValueError):
    """Not a refusal of a relay; the text is a sentence and holds nothing of the message."""


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True, tag="refused", tag_field="type"):
    """The relay says no."""

    reason: str
    """One of REASONS; a newer relay may have more."""
    text: Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
    """Sentences for the administrator: printable, no line breaks."""
    statement: Annotated[str, msgspec.Meta(max_length=MAX_STATEMENT)] = ""
    """With `revoked`: the CA's statement in PEM (revocation.read)."""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Refusal)


def encode(refusal: Refusal) -> str:
    """The JSON text. Raises BadRefusal when the agent would refuse to read it."""
    text = _encoder.encode(refusal).decode()
    decode(text)
    return text


def decode(text: str | bytes) -> Refusal:
    """What the agent receives. Raises BadRefusal."""
    wrong = BadRefusal("The relay's refusal cannot be read: ask the relay's operator for its log.")
    if len(text) > MAX_BYTES:
        raise wrong
    try:
        data = text.encode() if isinstance(text, str) else text
        data.decode()  # msgspec does not look inside the members that it skips
        refusal = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise wrong from None
    check(refusal)
    return refusal


def check(refusal: Refusal) -> None:
    """Raises BadRefusal: the text goes to a terminal, so no escape sequences, whoever the relay is."""
    if not refusal.text.isprintable() or _REASON.fullmatch(refusal.reason) is None:
        raise BadRefusal("The relay's refusal cannot be read: ask the relay's operator for its log.")
