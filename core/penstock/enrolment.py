"""The enrolment conversation: one message of the agent, one answer of the relay, JSON text over a websocket.

It runs on the tunnel listener at PATH under SUBPROTOCOL. The agent speaks only after it has checked the
relay's CA against the pin of its join string, because its first message carries the one-time secret.
"""

import base64
import binascii
import re
from typing import Annotated, TypeVar

import msgspec

from penstock.joinstring import SECRET_BYTES
from penstock.names import BadName, parse_name

PATH = "/enrol"
CA_PATH = "/ca"
SUBPROTOCOL = "penstock-enrol.1"

MAX_MESSAGE_BYTES = 64 * 1024
MAX_CSR = 8 * 1024
MAX_PEM = 24 * 1024
MAX_TEXT = 500

USED = "used"
EXPIRED = "expired"
UNKNOWN = "unknown"
MALFORMED = "malformed"
REASONS = frozenset({USED, EXPIRED, UNKNOWN, MALFORMED})

_REASON = re.compile(r"[a-z_]{1,32}")


class BadEnrolment(ValueError):
    """Not a message of this conversation; the text is a sentence and holds nothing of the message."""


class Enrol(msgspec.Struct, frozen=True, tag="enrol", tag_field="type"):
    """The agent asks to be let in. The relay decides site and agent name; the CSR only proves the key."""

    secret: Annotated[str, msgspec.Meta(max_length=64)]
    """base64url without padding of the join string's secret: `secret_text`."""
    csr: Annotated[str, msgspec.Meta(max_length=MAX_CSR)]
    """PEM."""

    def __repr__(self) -> str:
        return "<Enrol>"

    @property
    def secret_bytes(self) -> bytes:
        """The secret. Raises BadEnrolment; not after decode_enrol, which has checked it."""
        return _secret_bytes(self.secret)


class Enrolled(msgspec.Struct, frozen=True, tag="enrolled", tag_field="type"):
    """The agent is in."""

    site: str
    agent: str
    certificate: Annotated[str, msgspec.Meta(max_length=MAX_PEM)]
    """PEM chain, the agent's own certificate first."""
    ca: Annotated[str, msgspec.Meta(max_length=MAX_PEM)]
    """PEM of the relay's CA; of both while the relay goes over to another. The agent trusts all of it."""


class Refused(msgspec.Struct, frozen=True, tag="refused", tag_field="type"):
    """The agent is not in, for good: another join string is needed."""

    reason: str
    """One of REASONS; a newer relay may have more."""
    text: Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
    """One sentence for the administrator: printable, no line breaks."""


Reply = Enrolled | Refused

_M = TypeVar("_M")

_encoder = msgspec.json.Encoder()
_enrol = msgspec.json.Decoder(Enrol)
_reply: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)


def secret_text(secret: bytes) -> str:
    """How a secret is written in Enrol."""
    return base64.urlsafe_b64encode(secret).decode().rstrip("=")


def encode(message: Enrol | Enrolled | Refused) -> str:
    """The text message to send. Raises BadEnrolment when the receiver would refuse it."""
    text = _encoder.encode(message).decode()
    if isinstance(message, Enrol):
        decode_enrol(text)
    else:
        decode_reply(text)
    return text


def decode_enrol(text: str | bytes) -> Enrol:
    """What the relay receives. Raises BadEnrolment."""
    message = _decode(_enrol, text)
    _secret_bytes(message.secret)
    if not message.csr.startswith("-----BEGIN CERTIFICATE REQUEST-----"):
        raise BadEnrolment("The enrolment message holds no certificate request: update the agent.")
    return message


def decode_reply(text: str | bytes) -> Reply:
    """What the agent receives. Raises BadEnrolment."""
    message = _decode(_reply, text)
    if isinstance(message, Refused):
        # The text goes to a terminal: no escape sequences, whoever the relay is.
        if not message.text.isprintable() or _REASON.fullmatch(message.reason) is None:
            raise BadEnrolment("The relay's refusal cannot be read: ask the relay's operator for its log.")
        return message
    try:
        parse_name(message.site, "site")
        parse_name(message.agent, "agent")
    except BadName:
        raise BadEnrolment("The relay gave this agent a name that is not usable: update the relay.") from None
    if not all(pem.startswith("-----BEGIN CERTIFICATE-----") for pem in (message.certificate, message.ca)):
        raise BadEnrolment("The relay's answer holds no certificate: ask the relay's operator for its log.")
    return message


def _decode(decoder: msgspec.json.Decoder[_M], text: str | bytes) -> _M:
    wrong = BadEnrolment("The other side does not speak this version of enrolment: update agent and relay.")
    if len(text) > MAX_MESSAGE_BYTES:
        raise wrong
    try:
        data = text.encode() if isinstance(text, str) else text
        data.decode()  # msgspec does not look inside the members that it skips
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise wrong from None


def _secret_bytes(text: str) -> bytes:
    try:
        secret = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != SECRET_BYTES or secret_text(secret) != text:
        raise BadEnrolment(
            "The secret does not have the form of a join string's: copy the join string again."
        )
    return secret
