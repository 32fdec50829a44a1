"""The tables. Times are seconds since the epoch; secrets are kept as SHA-256 digests only.

A change here needs a migration in ``migrations/versions``; a test compares the two.
"""

from sqlalchemy import Double, ForeignKey, ForeignKeyConstraint, Integer, LargeBinary, MetaData, String
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


class AgentRow(Base):
    """An enrolled agent. Rows stay, so that a name is never given to a second key."""

    __tablename__ = "agents"

    site: Mapped[str] = mapped_column(String(40), ForeignKey("sites.name"), primary_key=True)
    agent: Mapped[str] = mapped_column(String(40), primary_key=True)
    serial: Mapped[str] = mapped_column(String(40), unique=True)
    """Serial number of its certificate, lower-case hexadecimal."""
    not_after: Mapped[float] = mapped_column(Double)
    enrolled_at: Mapped[float] = mapped_column(Double)


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
