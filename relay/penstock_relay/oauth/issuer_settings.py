"""The tables ``[[issuers]]`` of relay.toml: which tokens of others are good, and what they open."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from penstock.jwk import ASYMMETRIC
from penstock.names import RESERVED
from penstock_relay.oauth import presets, trusted
from penstock_relay.oauth.introspection import Endpoint
from penstock_relay.oauth.issuer import Issuer, Names, Opens
from penstock_relay.oauth.presets import BadIssuer, Preset

MAX_ISSUERS: Final = 16

_SCOPE: Final = re.compile(r"[!#-\[\]-~]{1,256}")  # RFC 6749, 3.3
_PLACE: Final = re.compile(r"(\*|[a-z0-9-]{1,40})/(\*|[a-z0-9-]{1,40})")
_STRICT: Final = ConfigDict(
    extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True
)


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _url(value: str) -> str:
    wrong = trusted.problem(value)
    if wrong is not None:
        raise ValueError(f"{wrong[0].upper()}{wrong[1:]}.")
    return value


class ClaimSettings(BaseModel):
    """``[issuers.claims]``: names of claims, where the preset's are not the ones. Dots lead into objects."""

    model_config = _STRICT

    user: str | None = None
    """Who the user is, for ever: never a name that somebody else can get later."""
    name: str | None = None
    """What the user is called."""
    email: str | None = None
    """The user's address."""
    email_verified: str | None = None
    """Whether the issuer has verified it: without this claim, being true, there is no address."""
    groups: str | None = None
    """An array of the user's groups."""
    scopes: str | None = None
    """An array, or text with spaces."""


class IntrospectionSettings(BaseModel):
    """``[issuers.introspection]``: where the issuer says what its opaque tokens are."""

    model_config = _STRICT

    url: str
    """The endpoint (RFC 7662)."""
    client_id: str = Field(min_length=1)
    """What the relay is called there."""
    client_secret_file: Path
    """File with the secret by which it proves that."""

    _url = field_validator("url")(_url)

    def endpoint(self) -> Endpoint:
        """Reads the secret. Raises OSError, ValueError."""
        secret = self.client_secret_file.read_text(encoding="utf-8").strip()
        if not secret:
            raise ValueError(f"{self.client_secret_file} is empty")
        return Endpoint(self.url, self.client_id, secret)


class IssuerSettings(BaseModel):
    """One table ``[[issuers]]``."""

    model_config = _STRICT

    url: str
    """The issuer's name, exactly as its metadata has it; found at its `/.well-known` address."""
    preset: Preset = "oidc"
    """Whose tokens these are: `entra`, `okta`, `keycloak`, `auth0`, or `oidc` for any other."""
    audience: tuple[str, ...] = ()
    """What its tokens name as their audience; unset, the URL of the MCP endpoint."""
    algorithms: tuple[str, ...] = ("RS256",)
    """Signatures that are accepted."""
    scopes: dict[str, tuple[str, ...]] = {"mcp": ("*/*",)}
    """What each scope opens."""
    scope_prefix: str | None = None
    """What clients put before a scope to ask for it."""
    match_email: bool = False
    """Whether a user with a verified address is the user of this relay with the same one."""
    max_token_hours: int = Field(default=24, ge=1, le=24 * 366)
    """Tokens that are good for longer are refused: a JWT cannot be taken back."""
    claims: ClaimSettings = ClaimSettings()
    """Names of claims."""
    introspection: IntrospectionSettings | None = None
    """For opaque tokens; one issuer can have it."""

    _url = field_validator("url")(_url)

    @model_validator(mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        found = dict(value)
        for name in ("audience", "algorithms"):
            if name in found:
                found[name] = _listed(found[name])
        if isinstance(found.get("scopes"), dict):
            found["scopes"] = {scope: _listed(opens) for scope, opens in found["scopes"].items()}
        return found

    @field_validator("audience")
    @classmethod
    def _audiences(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(value):
            raise ValueError("an audience is never empty: every token would do")
        return value

    @field_validator("algorithms")
    @classmethod
    def _asymmetric(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not set(value) <= set(ASYMMETRIC):
            raise ValueError(f"algorithms are some of {', '.join(ASYMMETRIC)}")
        return value

    @field_validator("scopes")
    @classmethod
    def _openers(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if not value:
            raise ValueError("without a scope its tokens open nothing: remove the issuer instead")
        for scope, places in value.items():
            if _SCOPE.fullmatch(scope) is None:
                raise ValueError("a scope has no spaces, quotes or backslashes")
            for place in places:
                found = _PLACE.fullmatch(place)
                if found is None or not RESERVED.isdisjoint(found.groups()):
                    raise ValueError('a scope opens "site/server", and * stands for all: "berlin/*", "*/*"')
        return value

    @model_validator(mode="after")
    def _suits(self) -> IssuerSettings:
        try:
            manner = presets.manner(self.preset, self.url)
        except BadIssuer as error:
            raise ValueError(str(error)) from None
        if manner.needs_audience and not self.audience:
            raise ValueError(
                "set audience to the application's id URI (api://…) and its id: tokens of this provider "
                "never name the URL of an MCP endpoint"
            )
        return self

    def issuer(self) -> Issuer:
        """What the settings say, in the words of `oauth.issuer`."""
        manner = presets.manner(self.preset, self.url)
        opens = tuple(
            Opens(scope, *place.split("/")) for scope, places in self.scopes.items() for place in places
        )
        return Issuer(
            url=self.url,
            opens=opens,
            aliases=manner.aliases,
            audience=self.audience,
            algorithms=self.algorithms,
            names=self._names(manner.names),
            must=manner.must,
            scope_prefix=self._prefix(),
            match_email=self.match_email,
            max_life_s=self.max_token_hours * 3600.0,
        )

    def _names(self, usual: Names) -> Names:
        said = self.claims

        def one(name: str | None, otherwise: tuple[str, ...]) -> tuple[str, ...]:
            return otherwise if name is None else (name,)

        return Names(
            user=one(said.user, usual.user),
            name=one(said.name, usual.name),
            email=one(said.email, usual.email),
            verified=one(said.email_verified, usual.verified),
            groups=one(said.groups, usual.groups),
            scopes=one(said.scopes, usual.scopes),
        )

    def _prefix(self) -> str:
        if self.scope_prefix is not None:
            return self.scope_prefix
        if self.preset != "entra":
            return ""
        # Entra ID finds the application by what stands before the scope.
        return next((f"{name}/" for name in self.audience if "://" in name), f"api://{self.audience[0]}/")


def _checked(issuers: Sequence[IssuerSettings]) -> Sequence[IssuerSettings]:
    names = [name for each in issuers for name in (each.url, *each.issuer().aliases)]
    if len(set(names)) != len(names):
        raise ValueError("an issuer stands there twice")
    if len(issuers) > MAX_ISSUERS:
        raise ValueError(f"there are at most {MAX_ISSUERS} issuers")
    if sum(each.introspection is not None for each in issuers) > 1:
        raise ValueError("one issuer can have introspection: opaque tokens do not say whose they are")
    return issuers


Issuers = Annotated[tuple[IssuerSettings, ...], AfterValidator(_checked)]
