"""The order in which a request is judged before its body counts. Pure: values in, a Refusal out.

Malformed 400; Host 421; Origin 403; path of no known form 404; network 403; token 401; access 404; method
405; encoding or type 415; Accept 406; length 413. (Then JSON 400 and offline, for which `failure` needs the
body.) The first check that fails answers. `admit` is what can be said before the token is looked up, `permit`
what comes after; between the two there is exactly one look-up, of the token.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import urlsplit

from penstock import http
from penstock.http import Headers, Refusal
from penstock.tunnel.frames import Purpose
from penstock_relay.edge import entries
from penstock_relay.edge.callers import Callers
from penstock_relay.edge.limits import MAX_DIGITS, MAX_HEADER_BYTES, MAX_HEADERS, MAX_NAME, MAX_TOKEN
from penstock_relay.oauth.issuer import Issuer
from penstock_relay.oauth.metadata import PROTECTED, any_origin, asked, challenge

_OWN: Final = re.compile(
    r"/\.well-known/oauth-(protected-resource|authorization-server)(/.*)?|/\.well-known/openid-configuration(/.*)?"
    r"|/oauth/(upstream/)?[a-z]+|/invite/[A-Za-z0-9_-]+|/(authorize|token|register)"
)
"""Paths of the authorization server."""
FORMS: Final[Mapping[str, re.Pattern[str]]] = {
    "endpoint": entries.ENDPOINT,
    "own": _OWN,
    "site endpoint": entries.SITE_ENDPOINT,
}
"""Every form of path that is told apart, for who goes through them all; one of no form is 404."""
_TARGET: Final = re.compile(r"/[!-\"$-\[\]-~]*")  # printable ASCII without "#" and "\"
_HOST: Final = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")

_ONCE, _LIST, _TRAVELS, _NEVER = 1, 2, 4, 8
_RULES: Final[Mapping[str, int]] = {
    "host": _ONCE,
    "origin": _ONCE,
    "authorization": _ONCE,
    "content-length": _ONCE,
    "transfer-encoding": _ONCE,
    "expect": _ONCE,
    "user-agent": _ONCE,
    "content-encoding": _LIST,
    "accept": _LIST | _TRAVELS,
    **dict.fromkeys(http.REQUEST_HEADERS - {"accept"}, _ONCE | _TRAVELS),
    "upgrade": _NEVER,
    "trailer": _NEVER,
}
"""Headers that somebody decides by, here or at the agent. Two of a kind that is not a list would be read in
two ways, so they are refused."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where this edge is reached from outside."""

    origin: str
    """Scheme, host and port of the public URL, as a browser writes them."""
    hosts: frozenset[str]
    """Host headers that mean us, lower case."""
    oauth: bool = False
    """Whether the embedded authorization server answers here."""
    issuers: tuple[Issuer, ...] = ()
    """Issuers outside whose tokens are good here, too."""
    callers: Callers | None = None
    """Who may call MCP endpoints at all; None: everybody."""

    def owns(self, path: str) -> bool:
        """Whether it is a page of the relay's own."""
        if self.oauth:
            return _OWN.fullmatch(path) is not None
        return bool(self.issuers) and (path == PROTECTED or path.startswith(PROTECTED + "/"))

    @classmethod
    def of(
        cls,
        public_url: str,
        host: str,
        port: int,
        *,
        oauth: bool = False,
        issuers: tuple[Issuer, ...] = (),
        callers: Callers | None = None,
    ) -> Place:
        """For the public URL (an origin, lower case) and the address that the listener really has."""
        parts = urlsplit(public_url)
        default = 443 if parts.scheme == "https" else 80
        name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        hosts = {f"{name}:{parts.port or default}"}
        if parts.port in (None, default):
            hosts.add(name)
        if ipaddress.ip_address(host).is_loopback:
            shown = f"[{host}]" if ":" in host else host
            hosts |= {f"{shown}:{port}", f"localhost:{port}"}
        return cls(public_url, frozenset(hosts), oauth, issuers, callers)


@dataclass(slots=True)
class Asked:
    """The head of one request, as it was on the wire."""

    version: tuple[int, int]
    method: str
    target: str
    headers: Headers
    remote: str | None = None
    """Address of the TCP peer; only where it matters who may call."""


@dataclass(slots=True)
class Admitted:
    """A request that may have its token looked up."""

    site: str
    server: str
    """`WHOLE_SITE` for all of them together."""
    token: str
    method: str
    values: Mapping[str, str]
    """The headers that decide, by name; several of one name joined by commas, as HTTP has it."""
    headers: Headers
    """Those that travel to the agent."""

    length: int | None
    """Bytes of the body; None when it comes in chunks and only its end will tell."""
    purpose: Purpose = Purpose.MCP
    tail: str = "/mcp"
    """What follows site and server in the URL that the user pasted, for who has to log in."""


@dataclass(frozen=True, slots=True)
class Own:
    """A request for a page of the relay's own."""

    method: str
    path: str
    query: str
    length: int | None


class Scope(Protocol):
    """What a valid token is for."""

    @property
    def site(self) -> str: ...
    @property
    def server(self) -> str | None: ...  # None: every server of the site
    @property
    def only_here(self) -> bool: ...  # whether it is no token at all anywhere else (RFC 8707)
    @property
    def member(self) -> bool: ...  # whether its holder may still use what it is for
    @property
    def step_up(self) -> tuple[str, ...]: ...  # scopes to ask for, where those it has open nothing here


def admit(asked: Asked, place: Place) -> Admitted | Own | Refusal:
    """Malformed, Host, Origin, path, network, and whether there is a token at all."""
    values: dict[str, str] = {}
    travelling: list[tuple[str, str]] = []
    problem = _headers(asked.headers, values, travelling) or _malformed(asked, values)
    if problem:
        return Refusal(400, problem)
    host = values["host"].lower()
    if host not in place.hosts:
        if _HOST.fullmatch(host) is None:
            return Refusal(400, "The Host header must be a host name with an optional port.")
        return Refusal(421, "This relay does not answer for that host: use the URL that its operator gave.")
    origin = values.get("origin")
    path, _, query = asked.target.partition("?")
    own = place.owns(path)
    if origin not in (None, place.origin) and not (own and any_origin(path)):
        return Refusal(403, "Pages of other origins may not call this relay.")
    length = None if "transfer-encoding" in values else int(values.get("content-length", 0))
    if own:
        return Own(asked.method, path, query, length)
    found = entries.at(path)
    if found is None:
        if _OWN.fullmatch(path):
            return Refusal(404, "The authorization server of this relay is switched off.")
        return entries.nothing(path)
    if place.callers is not None and not place.callers.allow(asked.remote, asked.headers):
        return ELSEWHERE
    site, server, form, slash = found
    purpose, tail = entries.of(form, slash)
    token = _token(values.get("authorization", ""))
    if token is None:
        return unauthorised(place, site, server, presented=False, tail=tail)
    headers = entries.headers(purpose, travelling, query)
    return Admitted(site, server, token, asked.method, values, headers, length, purpose, tail)


def permit(
    admitted: Admitted, scope: Scope | None, place: Place, *, unknown: bool, limit: int
) -> Refusal | None:
    """Token, access, then method, encoding, type, Accept and length.

    `scope` is None for a token that is not valid; `unknown` says that the site has no such server;
    `limit` is the most bytes that a body may have.
    """
    here = scope is not None and scope.site == admitted.site and scope.server in (None, admitted.server)
    if scope is None or (scope.only_here and not here):
        return unauthorised(place, admitted.site, admitted.server, presented=True, tail=admitted.tail)
    if scope.step_up:
        return insufficient(place, admitted.site, admitted.server, scope.step_up, admitted.tail)
    if unknown or not here or not scope.member:
        return NO_ACCESS
    values = admitted.values
    refusal = entries.check(
        admitted.purpose,
        admitted.method,
        values.get("content-encoding"),
        values.get("content-type"),
        values.get("accept"),
        values.get(http.VERSION),
    )
    if refusal is not None:
        return refusal
    return too_long(limit) if admitted.length is not None and admitted.length > limit else None


ELSEWHERE: Final = Refusal(
    403,
    "This relay takes calls only from the networks that its operator has listed, and this address is in none "
    "of them. Ask the operator.",
)

NO_ACCESS: Final = Refusal(
    404,
    "No MCP server is available to this token at this URL. "
    "Check the URL, or ask the relay's operator for access.",
)
"""The one answer for a site or server that does not exist and for one that the token is not for."""


def unauthorised(place: Place, site: str, server: str, *, presented: bool, tail: str) -> Refusal:
    """401; `presented` is whether there was a token. Says where to log in, where one can."""
    said = ['Bearer realm="penstock"']
    if presented:
        text = "The bearer token is unknown, expired or revoked: ask the relay's operator for another."
        said.append('error="invalid_token"')
    else:
        text = "Send the token that the relay's operator gave you: 'Authorization: Bearer TOKEN'."
    scopes = asked(place.oauth, place.issuers, site, server)
    if scopes:
        said.append(challenge(place.origin, site, server, scopes, tail))
    return Refusal(401, text, (("www-authenticate", ", ".join(said)),))


def insufficient(place: Place, site: str, server: str, scopes: tuple[str, ...], tail: str) -> Refusal:
    """403: a good token, whose client must ask its user for more (RFC 6750, 3.1).

    It comes from the URL and the configuration alone, before anything is looked up, and is the same for every
    server that the token does not open: so it tells no more of which there are than a 404 would.
    """
    where = challenge(place.origin, site, server, scopes, tail)
    return Refusal(
        403,
        "The token's scopes open nothing at this URL. Log in again and allow the application these: "
        + " ".join(scopes),
        (("www-authenticate", f'Bearer realm="penstock", error="insufficient_scope", {where}'),),
    )


def too_long(limit: int) -> Refusal:
    """413."""
    return Refusal(413, f"The request body is longer than {limit} bytes: send less in one message.")


def _headers(headers: Headers, values: dict[str, str], travelling: list[tuple[str, str]]) -> str | None:
    """Sorts the headers into those that decide and those that travel; says what is wrong with them."""
    size = 0
    for pair in headers:
        name, value = pair
        size += len(name) + len(value)
        rule = _RULES.get(name)
        if rule is None:
            if not name.startswith(http.REQUEST_PREFIXES):
                continue
            rule = _TRAVELS
        elif name not in values:
            values[name] = value
        elif rule & _ONCE:
            return f"The header '{name}' may stand only once."
        else:
            values[name] += "," + value
        if rule & _TRAVELS:
            if not value.isascii():
                return "Headers that travel to the site must be ASCII."
            if len(name) > MAX_NAME:
                return f"The name of a header that travels to the site has at most {MAX_NAME} characters."
            travelling.append(pair)
        elif rule & _NEVER:
            return f"The header '{name}' is not accepted here."
    if len(headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        return f"More than {MAX_HEADERS} headers, or more than {MAX_HEADER_BYTES} bytes of them."
    return None


def _malformed(asked: Asked, values: Mapping[str, str]) -> str | None:
    """Why the head is not a request that is read in exactly one way; None when it is."""
    if asked.version not in ((1, 1), (1, 0)):
        return "This relay speaks HTTP/1.1."
    if asked.method == "CONNECT" or _TARGET.fullmatch(asked.target) is None:
        return "The request target must be a path in printable ASCII."
    if "host" not in values:
        return "The Host header is missing."
    coding = values.get("transfer-encoding")
    if coding is not None and (asked.version != (1, 1) or coding.lower() != "chunked"):
        return "Transfer-Encoding may only be 'chunked', and only in HTTP/1.1."
    length = values.get("content-length", "0")
    if not (length.isascii() and length.isdigit() and len(length) <= MAX_DIGITS):
        return "Content-Length must be a number."
    if asked.method in ("GET", "DELETE") and (coding is not None or length.strip("0")):
        return f"A {asked.method} request has no body."
    if values.get("expect", "100-continue").lower() != "100-continue":
        return "The only expectation that can be met is '100-continue'."
    return None


def _token(authorization: str) -> str | None:
    scheme, _, token = authorization.partition(" ")
    token = token.strip(" ")
    if scheme.lower() != "bearer" or len(token) > MAX_TOKEN or _TOKEN.fullmatch(token) is None:
        return None
    return token
