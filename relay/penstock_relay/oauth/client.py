"""What clients say of themselves, in a metadata document or a registration. Pure; nothing of it is believed
but where the user may be sent back to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from penstock import jwk, strictjson
from penstock.jwk import BadKeys
from penstock.lookalike import unseen
from penstock_relay.oauth import assertion, redirects
from penstock_relay.oauth.metadata import AUTH_METHODS

MAX_REGISTRATION: Final = 4096
"""Bytes of a registration."""
MAX_REDIRECTS: Final = 10
"""In a registration. A document serves all users of a client, and lists more."""
MAX_DOCUMENT_REDIRECTS: Final = 100
MAX_NAME: Final = 100
MAX_URL: Final = 2048
MAX_DEPTH: Final = 8
MAX_KEYS: Final = 256

_DOCUMENT: Final = re.compile(rf"https://({redirects.HOST})(?::443)?(/[A-Za-z0-9._~!$&'()+,;=:@/-]+)")
_TOP: Final = re.compile(r"(?:.*\.)?[a-z][a-z0-9-]*")
"""Resolvers read a last label that begins with a digit as part of an address: 127.1, 127.0.0.0x1."""


class BadClient(Exception):
    """The description cannot be used; the text is a sentence, `code` the error of RFC 7591."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Proof:
    """What a client that signs is verified by: a key set, or where it shows one."""

    jwks: bytes | None = None
    jwks_uri: str | None = None
    algorithm: str | None = None
    """The only one that it signs with; None: any that is accepted."""


@dataclass(frozen=True, slots=True)
class Client:
    """`host` is that of the metadata document, which the client controls; None for one that registered."""

    client_id: str
    name: str
    redirect_uris: tuple[str, ...]
    auth_method: str
    secret_hash: bytes | None
    host: str | None
    proof: Proof | None = None
    """Of a client whose method is private_key_jwt."""
    preregistered: bool = False
    """Whether the operator made it."""


@dataclass(frozen=True, slots=True)
class Registration:
    name: str
    redirect_uris: tuple[str, ...]
    auth_method: str


def is_document_url(client_id: str) -> bool:
    """Whether `client_id` is the URL of a metadata document: https, a path, nothing read in two ways."""
    found = _DOCUMENT.fullmatch(client_id) if len(client_id) <= MAX_URL else None
    if found is None or _TOP.fullmatch(found[1]) is None:
        return False
    return {".", ".."}.isdisjoint(found[2].split("/"))


def from_document(url: str, data: bytes) -> Client:
    """The client that the document at `url` describes. Raises BadClient."""
    found = _object(data)
    if found.get("client_id") != url:
        raise BadClient("invalid_client_metadata", "The document names another client_id than its own URL.")
    if "client_secret" in found or "client_secret_expires_at" in found:
        raise BadClient("invalid_client_metadata", "A public document holds no secret.")
    method = found.get("token_endpoint_auth_method", "none")
    if method not in ("none", assertion.METHOD):
        raise BadClient(
            "invalid_client_metadata",
            f"This relay takes token_endpoint_auth_method none or {assertion.METHOD} in a document.",
        )
    host = urlsplit(url).hostname or ""
    uris = _redirects(found, MAX_DOCUMENT_REDIRECTS)
    _flow(found)
    proof = _proof(found, host) if method == assertion.METHOD else None
    return Client(url, _name(found, host), uris, str(method), None, host, proof)


def parse_registration(data: bytes) -> Registration:
    """A request of RFC 7591; what is not known here is ignored, as it says. Raises BadClient."""
    if len(data) > MAX_REGISTRATION:
        raise BadClient("invalid_client_metadata", f"A registration has at most {MAX_REGISTRATION} bytes.")
    found = _object(data)
    method = found.get("token_endpoint_auth_method", "client_secret_basic")
    if method not in AUTH_METHODS:
        raise BadClient(
            "invalid_client_metadata", f"token_endpoint_auth_method is one of {', '.join(AUTH_METHODS)}."
        )
    uris = _redirects(found, MAX_REDIRECTS)
    _flow(found)
    return Registration(_name(found, "An application without a name"), uris, str(method))


def _object(data: bytes) -> dict[str, Any]:
    try:
        text = data.decode()
        found: object = msgspec.json.decode(data)
        if strictjson.exceeds(data, depth=MAX_DEPTH, keys=MAX_KEYS, containers=MAX_KEYS):
            raise BadClient("invalid_client_metadata", "The description is nested too deeply, or too large.")
        strictjson.tree(text)
    except (ValueError, RecursionError):  # encodings, syntax and duplicate keys
        raise BadClient("invalid_client_metadata", "The description is not one plain JSON object.") from None
    if not isinstance(found, dict):
        raise BadClient("invalid_client_metadata", "The description is not one plain JSON object.")
    return found


def _redirects(found: dict[str, Any], most: int) -> tuple[str, ...]:
    uris = found.get("redirect_uris")
    if not isinstance(uris, list) or not 1 <= len(uris) <= most:
        raise BadClient("invalid_redirect_uri", f"redirect_uris lists 1 to {most} URIs.")
    for uri in uris:
        wrong = redirects.problem(uri) if isinstance(uri, str) else "A redirect URI is text."
        if wrong:
            raise BadClient("invalid_redirect_uri", wrong)
    return tuple(uris)


def _flow(found: dict[str, Any]) -> None:
    grants, kinds = found.get("grant_types"), found.get("response_types")
    if grants is not None and not (isinstance(grants, list) and "authorization_code" in grants):
        raise BadClient("invalid_client_metadata", "grant_types must hold authorization_code.")
    if kinds is not None and not (isinstance(kinds, list) and all(kind == "code" for kind in kinds)):
        raise BadClient("invalid_client_metadata", "The only response_type is code.")


def _proof(found: dict[str, Any], host: str) -> Proof:
    """Its keys, or where they are: on the host that its user is shown, and no other (RFC 7591, 2)."""
    jwks, uri = found.get("jwks"), found.get("jwks_uri")
    algorithm = found.get("token_endpoint_auth_signing_alg")
    if algorithm is not None and algorithm not in assertion.ALGORITHMS:
        raise BadClient(
            "invalid_client_metadata",
            f"token_endpoint_auth_signing_alg is one of {', '.join(assertion.ALGORITHMS)}.",
        )
    if (jwks is None) == (uri is None):
        raise BadClient("invalid_client_metadata", "A client that signs has either jwks or jwks_uri.")
    if uri is not None:
        if not isinstance(uri, str) or not is_document_url(uri) or urlsplit(uri).hostname != host:
            raise BadClient("invalid_client_metadata", "The jwks_uri is https, on the host of the document.")
        return Proof(jwks_uri=uri, algorithm=algorithm)
    data = msgspec.json.encode(jwks)
    try:
        jwk.parse(data)
    except BadKeys:
        raise BadClient("invalid_client_metadata", "The jwks has no key that can verify.") from None
    return Proof(jwks=data, algorithm=algorithm)


def _name(found: dict[str, Any], default: str) -> str:
    name = found.get("client_name")
    if name is None or (isinstance(name, str) and name.isspace()):
        name = default
    return name_of(name) or default


def name_of(name: object) -> str:
    """What users are shown; "" when nothing of it can be seen. Raises BadClient."""
    if not isinstance(name, str) or len(name) > MAX_NAME:
        raise BadClient("invalid_client_metadata", f"client_name is text of at most {MAX_NAME} characters.")
    # Control, format (direction marks among them), surrogate and unassigned characters, what breaks lines,
    # and what shows nothing, can make a name read as another.
    if any(map(unseen, name)):
        raise BadClient("invalid_client_metadata", "client_name has characters that cannot be shown.")
    return name.strip()
