"""What is known of grants, codes and tokens, as values; and the columns that each is made of."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select

from penstock_relay.oauth.upstream.person import Person
from penstock_relay.store.memberships import is_member
from penstock_relay.store.models import CodeRow, GrantRow, GrantTokenRow, UpstreamUserRow, UserRow


@dataclass(frozen=True, slots=True)
class Grant:
    """``expires_at`` is its end in any case, ``idle_at`` when it ends unless it is refreshed before.

    ``server`` is empty for all servers of the site together.
    """

    id: str
    user: str
    client_id: str
    client_name: str
    site: str
    server: str
    resource: str
    created_at: float
    expires_at: float
    idle_at: float
    revoked_at: float | None = None
    allowed: str | None = None
    """JSON of what it allows (see ``penstock.allowance``); None: all that the site exposes."""
    proof: str | None = None
    """JSON of what the company's provider signed about it (see ``penstock.voucher``)."""


@dataclass(frozen=True, slots=True)
class Code:
    """An authorization code without its text, and what it was asked with."""

    secret_hash: bytes
    user: str
    client_id: str
    client_name: str
    redirect_uri: str
    challenge: str
    resource: str
    site: str
    server: str
    created_at: float
    expires_at: float
    used_at: float | None = None
    grant_id: str | None = None
    allowed: str | None = None
    proof: str | None = None


@dataclass(frozen=True, slots=True)
class GrantToken:
    """A token without its secret; ``used_at`` is when a refresh token was first used."""

    public_id: str
    secret_hash: bytes
    refresh: bool
    grant_id: str
    created_at: float
    expires_at: float
    used_at: float | None = None


@dataclass(frozen=True, slots=True)
class Holder:
    """A token, its grant, and what is true of its user now."""

    token: GrantToken
    grant: Grant
    email: str
    disabled: bool
    member: bool
    person: Person | None = None
    """Who the user is at the identity provider; None for one of this relay's own."""


TOKEN = (
    GrantTokenRow.public_id,
    GrantTokenRow.secret_hash,
    GrantTokenRow.refresh,
    GrantTokenRow.grant_id,
    GrantTokenRow.created_at,
    GrantTokenRow.expires_at,
    GrantTokenRow.used_at,
)
GRANT = (
    GrantRow.id,
    GrantRow.user,
    GrantRow.client_id,
    GrantRow.client_name,
    GrantRow.site,
    GrantRow.server,
    GrantRow.resource,
    GrantRow.created_at,
    GrantRow.expires_at,
    GrantRow.idle_at,
    GrantRow.revoked_at,
    GrantRow.allowed,
    GrantRow.proof,
)
CODE = select(
    CodeRow.secret_hash,
    CodeRow.user,
    CodeRow.client_id,
    CodeRow.client_name,
    CodeRow.redirect_uri,
    CodeRow.challenge,
    CodeRow.resource,
    CodeRow.site,
    CodeRow.server,
    CodeRow.created_at,
    CodeRow.expires_at,
    CodeRow.used_at,
    CodeRow.grant_id,
    CodeRow.allowed,
    CodeRow.proof,
)
HOLDER = (
    select(
        *TOKEN,
        *GRANT,
        UpstreamUserRow.issuer,
        UpstreamUserRow.subject,
        UpstreamUserRow.full_name,
        UserRow.email,
        UserRow.disabled_at,
        is_member(GrantRow.__table__.c.user, GrantRow.__table__.c.site, GrantRow.__table__.c.server),
    )
    .join(GrantRow, GrantRow.id == GrantTokenRow.grant_id)
    .join(UserRow, UserRow.name == GrantRow.user)
    .outerjoin(UpstreamUserRow, UpstreamUserRow.user == GrantRow.user)
)


def holder_of(row: Row[*tuple[Any, ...]]) -> Holder:
    values = tuple(row)
    split = len(TOKEN)
    grant, about = values[split : split + len(GRANT)], values[split + len(GRANT) :]
    issuer, subject, name, email, disabled_at, member = about
    disabled = disabled_at is not None
    person = None if issuer is None else Person(issuer, subject, name, email)
    return Holder(
        GrantToken(*values[:split]), Grant(*grant), email, disabled, bool(member) and not disabled, person
    )
