"""The table ``[upstream]`` of relay.toml: the company's identity provider."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from penstock.jwk import ASYMMETRIC
from penstock_relay.oauth import organisation, trusted
from penstock_relay.oauth.upstream.person import ClaimNames, is_group

_SCOPE: Final = re.compile(r"[!#-\[\]-~]{1,256}")  # RFC 6749, 3.3


def _group(value: str) -> str:
    if not is_group(value):
        raise ValueError("the name of a group has 1 to 200 bytes, all printable, and no space at its ends")
    return value


Group = Annotated[str, AfterValidator(_group)]


class UpstreamSettings(BaseModel):
    """One OpenID provider."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )

    issuer: str
    """The provider's name, exactly as its metadata has it; found at its `/.well-known` address."""
    client_id: str = Field(min_length=1)
    """What the relay is called there."""
    client_secret_file: Path | None = None
    """File with the secret by which the relay proves that; unset for a public client."""
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    """What the relay asks for. With `offline_access`, users are re-checked quietly."""
    name_claim: str = Field(default="name", min_length=1)
    """The claim that says what a user is called. Dots lead into objects."""
    groups_claim: str = Field(default="groups", min_length=1)
    """The claim that lists the user's groups. Dots lead into objects."""
    label: str = Field(default="single sign-on", min_length=1, max_length=60)
    """What the button on the login page says after *Log in with*."""
    prompt: Literal["login", "consent", "select_account"] | None = None
    """Passed to the provider. Some give no refresh token without `consent`."""
    algorithms: tuple[str, ...] = ("RS256",)
    """Signatures of ID tokens and logout tokens that are accepted."""
    max_age: str = "12h"
    """How old what the provider said of a user may be when a client renews its access; at most 12h."""
    logout_ends: Literal["grants", "sessions"] = "grants"
    """What a logout at the provider ends: all that the user granted too, or logins at the relay only."""

    @field_validator("issuer")
    @classmethod
    def _issuer(cls, value: str) -> str:
        wrong = trusted.problem(value)
        if wrong is not None:
            raise ValueError(wrong)
        if "?" in value or len(value) > 512:
            raise ValueError("it is a URL without a query, of 512 characters at most")
        return value

    @field_validator("scopes")
    @classmethod
    def _scopes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "openid" not in value or not all(map(_SCOPE.fullmatch, value)):
            raise ValueError("scopes are words of printable ASCII, and openid is one of them")
        return value

    @field_validator("algorithms")
    @classmethod
    def _asymmetric(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not set(value) <= set(ASYMMETRIC):
            raise ValueError(f"the algorithms are {', '.join(ASYMMETRIC)}")
        return value

    @field_validator("max_age")
    @classmethod
    def _max_age(cls, value: str) -> str:
        if not 300 <= organisation.seconds(value) <= 12 * 3600:
            raise ValueError("it is between 5m and 12h")
        return value

    @property
    def max_age_s(self) -> float:
        return organisation.seconds(self.max_age)

    @property
    def names(self) -> ClaimNames:
        return ClaimNames(self.name_claim, self.groups_claim)

    def secret(self) -> str | None:
        """Reads the secret. Raises OSError, ValueError."""
        if self.client_secret_file is None:
            return None
        secret = self.client_secret_file.read_text(encoding="utf-8").strip()
        if not secret:
            raise ValueError(f"{self.client_secret_file} is empty")
        return secret
