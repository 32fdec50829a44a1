"""How the common providers write access tokens, where they differ from the standards. Pure, as data.

Entra ID: v1 and v2 tokens of one tenant have different issuers, scopes are in `scp` without the prefix by
which clients ask for them, `sub` differs by application while `oid` is the user, and `email` is proven by
`xms_edov` alone. Okta: `scp` is an array, the user is `uid` (`sub` is the login name), the client `cid`;
tokens of the organisation's own server are for Okta only. Keycloak: `typ` in the claims tells access tokens
from ID tokens; without a group mapper there are only realm roles. Auth0: claims of one's own have URLs as
names, so that groups have no usual one; its issuer ends with a slash.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal

from penstock_relay.oauth.issuer import Names

Preset = Literal["entra", "okta", "keycloak", "auth0", "oidc"]

_GUID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ENTRA: Final = re.compile(
    rf"https://login\.(?:microsoftonline\.(?:com|us)|partner\.microsoftonline\.cn)/({_GUID})/v2\.0"
)
_PUBLIC_CLOUD: Final = "https://login.microsoftonline.com/"


class BadIssuer(Exception):
    """The issuer's URL does not suit the preset; the text is a sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Manner:
    """What a preset settles for one issuer."""

    names: Names = field(default_factory=Names)
    aliases: tuple[str, ...] = ()
    must: dict[str, str] = field(default_factory=dict)
    needs_audience: bool = False
    """Whether its tokens never name the URL of an MCP endpoint."""


def manner(preset: Preset, url: str) -> Manner:
    """How the issuer at `url` writes tokens. Raises BadIssuer."""
    match preset:
        case "entra":
            return _entra(url)
        case "okta":
            if "/oauth2/" not in url:
                raise BadIssuer(
                    "Tokens of Okta's organisation server are for Okta alone: use a custom authorization "
                    "server, whose issuer is https://YOUR-ORG.okta.com/oauth2/ID."
                )
            return Manner(Names(user=("uid", "sub"), name=("name", "sub"), scopes=("scp",)))
        case "keycloak":
            if "/realms/" not in url:
                raise BadIssuer("A realm's issuer is https://HOST/realms/NAME.")
            return Manner(Names(groups=("groups", "realm_access.roles")), must={"typ": "Bearer"})
        case "auth0":
            if not url.endswith("/"):
                raise BadIssuer("An issuer of Auth0 ends with a slash: https://TENANT.auth0.com/.")
            return Manner(Names(groups=(), scopes=("scope", "permissions")))
        case "oidc":
            return Manner()


def _entra(url: str) -> Manner:
    found = _ENTRA.fullmatch(url)
    if found is None:
        raise BadIssuer(
            "An issuer of Entra ID is one tenant: https://login.microsoftonline.com/TENANT-ID/v2.0, with the "
            "tenant's id and not common or organizations, which stand for every company."
        )
    tenant = found[1]
    # Applications get v1 tokens unless their manifest says otherwise.
    v1 = (f"https://sts.windows.net/{tenant}/",) if url.startswith(_PUBLIC_CLOUD) else ()
    names = Names(
        user=("oid",), name=("name", "preferred_username", "unique_name"), verified=("xms_edov",),
        scopes=("scp",),
    )  # fmt: skip
    return Manner(names, v1, {"tid": tenant}, needs_audience=True)
