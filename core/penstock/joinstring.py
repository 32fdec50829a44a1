"""The join string: all that a new agent needs to find a relay, to know it, and to be let in once."""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from penstock.names import BadName, parse_name

PREFIX = "penstock1."
PIN_BYTES = 32
SECRET_BYTES = 16
MAX_URL_BYTES = 300
MAX_TEXT = 1024
"""Longest join string, in characters."""

_CHECKSUM_BYTES = 4
_ANY_VERSION = re.compile(r"penstock([0-9]{1,4})\.")


class BadJoinString(ValueError):
    """Not a usable join string; the text is a sentence for the administrator and repeats nothing of it."""


_DAMAGED = "The join string is damaged: copy it again, whole, from the relay's output."


@dataclass(frozen=True, slots=True)
class JoinString:
    """Raises BadJoinString when a part does not fit its form."""

    url: str
    """The tunnel listener of the relay: "wss://host:port"."""
    pin: bytes
    """SHA-256 of the SubjectPublicKeyInfo of the relay's CA, 32 bytes (tls.spki_pin)."""
    secret: bytes = field(repr=False)
    """One-time secret, 16 bytes."""
    site: str

    def __post_init__(self) -> None:
        _check_url(self.url)
        if len(self.pin) != PIN_BYTES or len(self.secret) != SECRET_BYTES:
            raise BadJoinString(_DAMAGED)
        try:
            parse_name(self.site, "site")
        except BadName as error:
            raise BadJoinString(str(error)) from None

    def dump(self) -> str:
        """One word of [A-Za-z0-9._-]: the same parts give the same text."""
        site = self.site.encode()
        payload = self.pin + self.secret + bytes((len(site),)) + site + self.url.encode()
        return PREFIX + base64.urlsafe_b64encode(payload + _checksum(payload)).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> "JoinString":
        """Read what `dump` wrote; white space (a wrapped line) does not matter. Raises BadJoinString."""
        text = "".join(text.split())
        if not text.startswith(PREFIX):
            if _ANY_VERSION.match(text):
                raise BadJoinString(
                    "The join string was made by a newer relay: update this agent, then join again."
                )
            raise BadJoinString(
                f"This is not a join string: it starts with '{PREFIX}'. "
                "Get one from 'penstock-relay site add NAME'."
            )
        if len(text) > MAX_TEXT:
            raise BadJoinString(_DAMAGED)
        encoded = text.removeprefix(PREFIX)
        try:
            data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise BadJoinString(_DAMAGED) from None
        payload, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
        site_at = PIN_BYTES + SECRET_BYTES + 1
        if len(payload) < site_at or _checksum(payload) != checksum:
            raise BadJoinString(_DAMAGED)
        url_at = site_at + payload[site_at - 1]
        try:
            parsed = cls(
                url=payload[url_at:].decode("ascii"),
                pin=payload[:PIN_BYTES],
                secret=payload[PIN_BYTES : PIN_BYTES + SECRET_BYTES],
                site=payload[site_at:url_at].decode("ascii"),
            )
        except UnicodeDecodeError:
            raise BadJoinString(_DAMAGED) from None
        if parsed.dump() != text:  # base64 has spellings that decode alike
            raise BadJoinString(_DAMAGED)
        return parsed


def _checksum(payload: bytes) -> bytes:
    """Against slips of copying, not against forgers: who can change the pin can also compute this."""
    return hashlib.sha256(PREFIX.encode() + payload).digest()[:_CHECKSUM_BYTES]


def _check_url(url: str) -> None:
    wrong = BadJoinString(
        "The tunnel address must have the form wss://host:port: set 'tunnel_url' of the relay."
    )
    if len(url) > MAX_URL_BYTES or not url.isascii() or not url.isprintable() or " " in url:
        raise wrong
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme != "wss" or not host or not port:
        raise wrong
    shown = f"[{host}]" if ":" in host else host
    if url != f"wss://{shown}:{port}":  # no user, path, query, fragment, capitals, leading zeros
        raise wrong
