"""Issuers outside: whose tokens are good here, how they write them, and what their scopes open. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from penstock import jwt
from penstock.jwt import BadToken, Claims
from penstock.names import WHOLE_SITE
from penstock.principal import Principal

MAX_LIFE_S: Final = 24 * 3600.0
"""How long a token may be good, unless a setting says otherwise: nobody can take it back before."""
ANY: Final = "*"
CLIENT: Final = ("azp", "client_id", "appid", "cid")
"""Claims that name the client; the first that is there counts."""

_PLACEHOLDER: Final = re.compile(r"\{(site|server)\}")
_TRUE: Final = (True, 1, "1", "true")


@dataclass(frozen=True, slots=True)
class Names:
    """Claims by what they tell; of several, the first that is there counts. Dots lead into objects."""

    user: tuple[str, ...] = ("sub",)
    name: tuple[str, ...] = ("name", "preferred_username")
    email: tuple[str, ...] = ("email",)
    verified: tuple[str, ...] = ("email_verified",)
    groups: tuple[str, ...] = ("groups",)
    scopes: tuple[str, ...] = ("scope", "scp")


@dataclass(frozen=True, slots=True)
class Opens:
    """A scope, and the servers that it opens; `ANY` stands for all sites, or all servers of a site.

    `{site}` and `{server}` in the scope stand for those of the URL that is asked for; at the URL of the whole
    site `{server}` reads `ANY`, as it would here. What opens single servers does not open that one.
    """

    scope: str
    site: str
    server: str

    def at(self, site: str, server: str) -> str:
        """The scope as it reads for that server."""
        here = {"site": site, "server": ANY if server == WHOLE_SITE else server}
        return _PLACEHOLDER.sub(lambda found: here[found[1]], self.scope)

    def covers(self, site: str, server: str) -> bool:
        return self.site in (ANY, site) and self.server in (ANY, server)


@dataclass(frozen=True, slots=True)
class Issuer:
    """One authorization server outside. What it vouches for is believed."""

    url: str
    """Its name, as its metadata and its tokens have it, byte for byte."""
    opens: tuple[Opens, ...]
    aliases: tuple[str, ...] = ()
    """Other names in `iss`, of older versions of its tokens."""
    audience: tuple[str, ...] = ()
    """What its tokens for this relay name; () is the URL of the MCP endpoint itself."""
    algorithms: tuple[str, ...] = ("RS256",)
    names: Names = field(default_factory=Names)
    must: Mapping[str, str] = field(default_factory=dict)
    """Claims that its access tokens have, with these values."""
    scope_prefix: str = ""
    """What clients put before a scope when they ask for it; tokens leave it out."""
    match_email: bool = False
    """Whether its users are the relay's own users with the same verified address."""
    max_life_s: float = MAX_LIFE_S

    def audiences(self, urls: Sequence[str]) -> tuple[str, ...]:
        """What a token for the endpoint at `urls` may name."""
        return self.audience or tuple(urls)

    def asked(self, site: str, server: str) -> tuple[str, ...]:
        """The scopes that a client asks for at that URL.

        All of the configuration, wherever they lead: which of them belongs to the URL would tell which sites
        there are. What differs by URL is read off the URL.
        """
        return tuple(dict.fromkeys(self.scope_prefix + opens.at(site, server) for opens in self.opens))

    def covers(self, scopes: Sequence[str], site: str, server: str) -> bool:
        """Whether one of `scopes` opens that server."""
        return any(opens.covers(site, server) and opens.at(site, server) in scopes for opens in self.opens)

    def lacks(self, scopes: Sequence[str], site: str, server: str) -> bool:
        """Whether there are scopes to ask for that a token with `scopes` does not have."""
        return not {opens.at(site, server) for opens in self.opens} <= set(scopes)


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who holds a good token of an issuer, until `expires` (since the epoch)."""

    issuer: Issuer
    principal: Principal
    scopes: tuple[str, ...]
    expires: float
    overage: bool
    """Whether the issuer left the user's groups out because there are too many."""


def read(issuer: Issuer, claims: Claims) -> Bearer:
    """Who the claims of a verified token are about, in the words of that issuer. Raises BadToken."""
    said, names = claims.extra, issuer.names
    if any(said.get(name) != value for name, value in issuer.must.items()):
        raise BadToken("claims")
    if claims.issued is None or claims.expires - claims.issued > issuer.max_life_s:
        raise BadToken("life")
    subject = jwt.text(_first(said, names.user))
    if not subject:
        raise BadToken("missing")
    email = jwt.shown(_first(said, names.email))
    verified = _first(said, names.verified) in _TRUE
    principal = Principal(
        issuer=issuer.url,
        subject=subject,
        name=jwt.shown(_first(said, names.name)),
        email=email if verified else "",
        groups=jwt.listed(_first(said, names.groups)),
        client=jwt.text(_first(said, CLIENT)),
    )
    try:
        principal.dump()
    except ValueError:  # more groups than travel to a site
        raise BadToken("claims") from None
    return Bearer(
        issuer, principal, jwt.texts(_first(said, names.scopes)), claims.expires, _overage(said, names)
    )


def _first(said: Mapping[str, object], names: Sequence[str]) -> object:
    for name in names:
        value = jwt.claim(said, name)
        if value is not None:
            return value
    return None


def _overage(said: Mapping[str, object], names: Names) -> bool:
    """Entra ID leaves more than 200 groups out and says where they could be asked for."""
    elsewhere = said.get("_claim_names")
    pointed = isinstance(elsewhere, Mapping) and any(name in elsewhere for name in names.groups)
    return pointed or said.get("hasgroups") in _TRUE
