"""The tables. Times are seconds since the epoch; secrets are kept as SHA-256 digests, or sealed.

A change here needs a migration in ``migrations/versions``; a test compares the two.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    false,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    # Named constraints: SQLite changes a table by copying it, and can only drop what has a name.
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class ChangeRow(Base):
    """One row: how many writes there have been, so that caches of any process notice them."""

    __tablename__ = "changes"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    sequence: Mapped[int] = mapped_column(Integer)


class SiteRow(Base):
    __tablename__ = "sites"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    created_at: Mapped[float] = mapped_column(Double)
    require_approval: Mapped[bool] = mapped_column(Boolean, server_default=false())
    """Whether new agents wait until somebody has compared their fingerprint."""
    suspended_at: Mapped[float | None] = mapped_column(Double)
    """Since when no call goes to it."""


class AgentRow(Base):
    """An enrolled agent. Rows stay, so that a name is never given to a second key."""

    __tablename__ = "agents"

    site: Mapped[str] = mapped_column(String(40), ForeignKey("sites.name"), primary_key=True)
    agent: Mapped[str] = mapped_column(String(40), primary_key=True)
    serial: Mapped[str] = mapped_column(String(40), unique=True)
    """Serial number of its newest certificate, lower-case hexadecimal."""
    not_after: Mapped[float] = mapped_column(Double)
    enrolled_at: Mapped[float] = mapped_column(Double)
    approved_at: Mapped[float | None] = mapped_column(Double)
    revoked_at: Mapped[float | None] = mapped_column(Double)
    locked_at: Mapped[float | None] = mapped_column(Double)
    lock: Mapped[str | None] = mapped_column(String(20))
    """What it was locked for: a value of `lineage.Lock`."""


class InviteRow(Base):
    """What one join string stands for."""

    __tablename__ = "invites"
    __table_args__ = (ForeignKeyConstraint(["site", "used_by"], ["agents.site", "agents.agent"]),)

    secret_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    site: Mapped[str] = mapped_column(String(40), ForeignKey("sites.name"))
    created_at: Mapped[float] = mapped_column(Double)
    expires_at: Mapped[float] = mapped_column(Double)
    used_at: Mapped[float | None] = mapped_column(Double)
    used_by: Mapped[str | None] = mapped_column(String(40))
    replaces: Mapped[str | None] = mapped_column(String(40))
    """The agent whose place the new one takes."""


class TokenRow(Base):
    """A personal access token."""

    __tablename__ = "tokens"

    public_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    name: Mapped[str] = mapped_column(String(40))
    site: Mapped[str] = mapped_column(String(40), ForeignKey("sites.name"), index=True)
    server: Mapped[str | None] = mapped_column(String(40))
    created_at: Mapped[float] = mapped_column(Double)
    expires_at: Mapped[float] = mapped_column(Double)
    revoked_at: Mapped[float | None] = mapped_column(Double)


class UserRow(Base):
    """A person with an account of this relay's own."""

    __tablename__ = "users"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    email: Mapped[str] = mapped_column(String(254))
    password_hash: Mapped[str | None] = mapped_column(String(200))
    """argon2id; None until the invitation was accepted."""
    created_at: Mapped[float] = mapped_column(Double)
    disabled_at: Mapped[float | None] = mapped_column(Double)


class UserInviteRow(Base):
    """What one link to choose a password stands for."""

    __tablename__ = "user_invites"

    secret_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    user: Mapped[str] = mapped_column(String(64), ForeignKey("users.name"), index=True)
    expires_at: Mapped[float] = mapped_column(Double)
    used_at: Mapped[float | None] = mapped_column(Double)


class MembershipRow(Base):
    """Who may use a site, or one of its servers; ``server`` is empty for all of them."""

    __tablename__ = "memberships"

    user: Mapped[str] = mapped_column(String(64), ForeignKey("users.name"), primary_key=True)
    site: Mapped[str] = mapped_column(String(40), ForeignKey("sites.name"), primary_key=True)
    server: Mapped[str] = mapped_column(String(40), primary_key=True)
    created_at: Mapped[float] = mapped_column(Double)
    role: Mapped[str] = mapped_column(String(20), server_default="user")


class ClientRow(Base):
    """An OAuth client that registered itself, or that the operator made."""

    __tablename__ = "clients"

    client_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    redirect_uris: Mapped[list[str]] = mapped_column(JSON)
    auth_method: Mapped[str] = mapped_column(String(40))
    secret_hash: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    created_at: Mapped[float] = mapped_column(Double)
    used_at: Mapped[float | None] = mapped_column(Double, index=True)
    preregistered: Mapped[bool] = mapped_column(Boolean, server_default=false())
    jwks: Mapped[bytes | None] = mapped_column(LargeBinary)


class GrantRow(Base):
    """What a user allowed a client; ``server`` is empty for all servers of the site together."""

    __tablename__ = "grants"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    user: Mapped[str] = mapped_column(String(64), ForeignKey("users.name"), index=True)
    client_id: Mapped[str] = mapped_column(String(2048))
    client_name: Mapped[str] = mapped_column(String(200))
    site: Mapped[str] = mapped_column(String(40), ForeignKey("sites.name"), index=True)
    server: Mapped[str] = mapped_column(String(40))
    resource: Mapped[str] = mapped_column(String(2048))
    created_at: Mapped[float] = mapped_column(Double)
    expires_at: Mapped[float] = mapped_column(Double)
    idle_at: Mapped[float] = mapped_column(Double)
    revoked_at: Mapped[float | None] = mapped_column(Double)
    allowed: Mapped[str | None] = mapped_column(Text)
    """JSON of penstock.allowance; None: all that the site exposes."""
    proof: Mapped[str | None] = mapped_column(Text)
    """JSON of penstock.voucher, where the site demands one."""


class CodeRow(Base):
    """An authorization code, until a client redeems it."""

    __tablename__ = "codes"

    secret_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    user: Mapped[str] = mapped_column(String(64), ForeignKey("users.name"))
    client_id: Mapped[str] = mapped_column(String(2048))
    client_name: Mapped[str] = mapped_column(String(200))
    redirect_uri: Mapped[str] = mapped_column(String(2048))
    challenge: Mapped[str] = mapped_column(String(43))
    resource: Mapped[str] = mapped_column(String(2048))
    site: Mapped[str] = mapped_column(String(40))
    server: Mapped[str] = mapped_column(String(40))
    created_at: Mapped[float] = mapped_column(Double)
    expires_at: Mapped[float] = mapped_column(Double, index=True)
    used_at: Mapped[float | None] = mapped_column(Double)
    grant_id: Mapped[str | None] = mapped_column(String(40), ForeignKey("grants.id"))
    allowed: Mapped[str | None] = mapped_column(Text)
    proof: Mapped[str | None] = mapped_column(Text)


class GrantTokenRow(Base):
    """An access or refresh token of a grant."""

    __tablename__ = "grant_tokens"

    public_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    refresh: Mapped[bool] = mapped_column(Boolean)
    grant_id: Mapped[str] = mapped_column(String(40), ForeignKey("grants.id"), index=True)
    created_at: Mapped[float] = mapped_column(Double)
    expires_at: Mapped[float] = mapped_column(Double)
    used_at: Mapped[float | None] = mapped_column(Double)
    parent: Mapped[str | None] = mapped_column(String(40), index=True)
    """Public id of the refresh token that it was exchanged for; None for those that a code brought."""


class ConsentRow(Base):
    """A consent given ahead, until its client comes for it."""

    __tablename__ = "consents"

    user: Mapped[str] = mapped_column(String(64), ForeignKey("users.name"), primary_key=True)
    client_id: Mapped[str] = mapped_column(String(512), primary_key=True)
    redirect_uri: Mapped[str] = mapped_column(String(2048))
    site: Mapped[str] = mapped_column(String(40), primary_key=True)
    server: Mapped[str] = mapped_column(String(40), primary_key=True)
    allowed: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[float] = mapped_column(Double)
    challenge: Mapped[str | None] = mapped_column(String(128))
    """What the provider has to sign first; None where nobody has to."""


class GroupMembershipRow(Base):
    """What the members of an identity provider's group are at a site, or at one of its servers."""

    __tablename__ = "group_memberships"

    group: Mapped[str] = mapped_column(String(200), primary_key=True)
    site: Mapped[str] = mapped_column(String(40), ForeignKey("sites.name"), primary_key=True)
    server: Mapped[str] = mapped_column(String(40), primary_key=True)
    role: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[float] = mapped_column(Double)


class RelayAdminRow(Base):
    """A relay administrator, by name; others are administrators by their groups."""

    __tablename__ = "relay_admins"

    user: Mapped[str] = mapped_column(String(64), ForeignKey("users.name"), primary_key=True)
    created_at: Mapped[float] = mapped_column(Double)


class UpstreamUserRow(Base):
    """Who a user is at the company's identity provider, and what it said last."""

    __tablename__ = "upstream_users"

    issuer: Mapped[str] = mapped_column(String(512), primary_key=True)
    subject: Mapped[str] = mapped_column(String(1024), primary_key=True)
    user: Mapped[str] = mapped_column(String(64), ForeignKey("users.name"), unique=True)
    full_name: Mapped[str] = mapped_column(String(200))
    checked_at: Mapped[float] = mapped_column(Double)
    """When the provider last vouched for the user."""
    refresh: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The provider's refresh token, sealed."""
    checking_until: Mapped[float | None] = mapped_column(Double)
    """Until when a replica that asks the provider may take: a refresh token is used by one at a time."""


class UserGroupRow(Base):
    """A user is in a group of the identity provider, as it said when it last vouched for the user."""

    __tablename__ = "user_groups"

    user: Mapped[str] = mapped_column(String(64), ForeignKey("users.name"), primary_key=True)
    group: Mapped[str] = mapped_column(String(200), primary_key=True, index=True)


class LoginRow(Base):
    """A browser where a user is logged in."""

    __tablename__ = "logins"

    secret_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    user: Mapped[str] = mapped_column(String(64), ForeignKey("users.name"), index=True)
    sid: Mapped[str | None] = mapped_column(String(255), index=True)
    """The provider's name for its session with that browser."""
    created_at: Mapped[float] = mapped_column(Double)
    expires_at: Mapped[float] = mapped_column(Double, index=True)


class FactorRow(Base):
    """The second factor of a user with an account of this relay's own."""

    __tablename__ = "factors"

    user: Mapped[str] = mapped_column(String(64), ForeignKey("users.name"), primary_key=True)
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    """The key of its codes, sealed where there is a master key."""
    created_at: Mapped[float] = mapped_column(Double)
    last_step: Mapped[int] = mapped_column(Integer)
    """The newest time step of which a code was used."""


class RecoveryCodeRow(Base):
    """A recovery code that was not used."""

    __tablename__ = "recovery_codes"

    secret_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    user: Mapped[str] = mapped_column(String(64), ForeignKey("users.name"), index=True)


class LogoutTokenRow(Base):
    """A logout token that was obeyed, until it would be refused for its age anyway."""

    __tablename__ = "logout_tokens"

    jti_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    expires_at: Mapped[float] = mapped_column(Double, index=True)


class SigningClientRow(Base):
    """A client with a metadata document that said, when a user connected it, that it signs."""

    __tablename__ = "signing_clients"

    client_id: Mapped[str] = mapped_column(String(2048), primary_key=True)
    jwks: Mapped[bytes | None] = mapped_column(LargeBinary)
    jwks_uri: Mapped[str | None] = mapped_column(String(2048))
    algorithm: Mapped[str | None] = mapped_column(String(16))
    seen_at: Mapped[float] = mapped_column(Double)


class AuditRow(Base):
    """A record of the audit log. Rows are added and never changed; only `audit prune` removes the oldest."""

    __tablename__ = "audit"

    sequence: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at: Mapped[float] = mapped_column(Double, index=True)
    """Repeats what the record says, to find it by."""
    record: Mapped[bytes] = mapped_column(LargeBinary)
    """The bytes that the hash is of: canonical JSON."""
    hash: Mapped[bytes] = mapped_column(LargeBinary(32))


class CertificateRow(Base):
    """A certificate that an agent was given. `lineage` says what the columns mean together."""

    __tablename__ = "agent_certificates"
    __table_args__ = (
        ForeignKeyConstraint(["site", "agent"], ["agents.site", "agents.agent"]),
        UniqueConstraint("site", "agent", "generation"),
    )

    serial: Mapped[str] = mapped_column(String(40), primary_key=True)
    site: Mapped[str] = mapped_column(String(40))
    agent: Mapped[str] = mapped_column(String(40))
    generation: Mapped[int] = mapped_column(Integer)
    fingerprint: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    """SHA-256 of its public key; None for those that were made before it was kept."""
    issued_at: Mapped[float] = mapped_column(Double)
    not_after: Mapped[float] = mapped_column(Double)
    seen_at: Mapped[float | None] = mapped_column(Double)
    abandoned_at: Mapped[float | None] = mapped_column(Double)
    revoked_at: Mapped[float | None] = mapped_column(Double)


class LedgerHeadRow(Base):
    """A head of an agent's ledger: the newest of each ledger, and the last of each day before it."""

    __tablename__ = "ledger_heads"
    __table_args__ = (ForeignKeyConstraint(["site", "agent"], ["agents.site", "agents.agent"]),)

    site: Mapped[str] = mapped_column(String(40), primary_key=True)
    agent: Mapped[str] = mapped_column(String(40), primary_key=True)
    ordinal: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    """Which of the ledgers that this agent has had: 1, 2, …"""
    n: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    ledger: Mapped[bytes] = mapped_column(LargeBinary(32))
    """Public key of the ledger."""
    hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    at_ms: Mapped[int] = mapped_column(BigInteger)
    signature: Mapped[bytes] = mapped_column(LargeBinary(64))
    stored_at: Mapped[float] = mapped_column(Double)


class NoticeRow(Base):
    """What an agent that is linked says waits for its site's administrator."""

    __tablename__ = "notices"
    __table_args__ = (ForeignKeyConstraint(["site", "agent"], ["agents.site", "agents.agent"]),)

    site: Mapped[str] = mapped_column(String(40), primary_key=True)
    agent: Mapped[str] = mapped_column(String(40), primary_key=True)
    withheld: Mapped[int] = mapped_column(BigInteger)
    waiting: Mapped[int] = mapped_column(BigInteger)
    ledger_failing: Mapped[bool] = mapped_column(Boolean)
    paused: Mapped[bool] = mapped_column(Boolean)
    stored_at: Mapped[float] = mapped_column(Double)
