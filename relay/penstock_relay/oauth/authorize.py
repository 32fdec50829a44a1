"""An authorization request, judged. Pure.

What is wrong before the redirect URI is known to be the client's is shown to the user and goes nowhere else;
what is wrong after that goes to the client (RFC 6749, 4.1.2.1), with `iss` like every answer (RFC 9207).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from penstock_relay.oauth import redirects
from penstock_relay.oauth.client import Client
from penstock_relay.oauth.metadata import Resource, resource_of

MAX_STATE: Final = 4096

_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")  # of an S256 digest, without padding


class Shown(Exception):
    """The request cannot be answered to anybody but the user; the text is for the page."""


class Returned(Exception):
    """The request is refused, and the client told so; the text is its error_description."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Request:
    """A request that may be put to a user."""

    client: Client
    redirect_uri: str
    state: str | None
    challenge: str
    resource_url: str
    """As the client wrote it."""
    resource: Resource
    asks_again: bool = False
    """Whether the client wants its user to be asked, whatever was allowed before (prompt=consent)."""


def redirect_uri(given: Mapping[str, str], client: Client) -> str:
    """Where the answer goes. Raises Shown."""
    asked = given.get("redirect_uri")
    if asked is None:
        if len(client.redirect_uris) != 1:
            raise Shown("The application did not say where to return to (redirect_uri).")
        return client.redirect_uris[0]
    if not redirects.matches(client.redirect_uris, asked):
        raise Shown("The application asks to return to an address that is not one of its own (redirect_uri).")
    return asked


def judge(given: Mapping[str, str], client: Client, uri: str, origin: str) -> Request:
    """The request, once `uri` is known to be the client's. Raises Returned."""
    if given.get("response_type") != "code":
        raise Returned("unsupported_response_type", "The only response_type is code.")
    if given.get("response_mode", "query") != "query":
        raise Returned("invalid_request", "The only response_mode is query.")
    if "request" in given or "request_uri" in given:
        raise Returned("request_not_supported", "Send the parameters themselves, not a request object.")
    if given.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(
        given.get("code_challenge", "")
    ):
        raise Returned("invalid_request", "PKCE is needed: code_challenge, with code_challenge_method=S256.")
    url = given.get("resource")
    if url is None:
        raise Returned("invalid_target", "Name the MCP endpoint that the token is for: resource=URL.")
    resource = resource_of(origin, url)
    if resource is None:
        raise Returned("invalid_target", "The resource is not an MCP endpoint of this relay.")
    state = given.get("state")
    if state is not None and len(state) > MAX_STATE:
        raise Returned("invalid_request", f"The state has at most {MAX_STATE} characters.")
    prompt = given.get("prompt", "").split()
    if "none" in prompt:
        raise Returned("interaction_required", "A person has to consent.")
    return Request(client, uri, state, given["code_challenge"], url, resource, "consent" in prompt)


def answer(uri: str, state: str | None, origin: str, **values: str) -> str:
    """`uri` with an answer in its query; what it had there stays."""
    pairs = {**values, **({} if state is None else {"state": state}), "iss": origin}
    return f"{uri}{'&' if '?' in uri else '?'}{urlencode(pairs)}"
