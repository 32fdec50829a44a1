"""Users, memberships, OAuth clients, grants, codes and their tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("password_hash", sa.String(200), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("disabled_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_users"),
    )
    op.create_table(
        "user_invites",
        sa.Column("secret_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("user", sa.String(64), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("used_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("secret_hash", name="pk_user_invites"),
        sa.ForeignKeyConstraint(["user"], ["users.name"], name="fk_user_invites_user"),
    )
    op.create_index("ix_user_invites_user", "user_invites", ["user"])
    op.create_table(
        "memberships",
        sa.Column("user", sa.String(64), nullable=False),
        sa.Column("site", sa.String(40), nullable=False),
        sa.Column("server", sa.String(40), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("user", "site", "server", name="pk_memberships"),
        sa.ForeignKeyConstraint(["user"], ["users.name"], name="fk_memberships_user"),
        sa.ForeignKeyConstraint(["site"], ["sites.name"], name="fk_memberships_site"),
    )
    op.create_table(
        "clients",
        sa.Column("client_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("redirect_uris", sa.JSON(), nullable=False),
        sa.Column("auth_method", sa.String(40), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(32), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("used_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("client_id", name="pk_clients"),
    )
    op.create_index("ix_clients_used_at", "clients", ["used_at"])
    op.create_table(
        "grants",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("user", sa.String(64), nullable=False),
        sa.Column("client_id", sa.String(2048), nullable=False),
        sa.Column("client_name", sa.String(200), nullable=False),
        sa.Column("site", sa.String(40), nullable=False),
        sa.Column("server", sa.String(40), nullable=False),
        sa.Column("resource", sa.String(2048), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("idle_at", sa.Double(), nullable=False),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_grants"),
        sa.ForeignKeyConstraint(["user"], ["users.name"], name="fk_grants_user"),
        sa.ForeignKeyConstraint(["site"], ["sites.name"], name="fk_grants_site"),
    )
    op.create_index("ix_grants_user", "grants", ["user"])
    op.create_index("ix_grants_site", "grants", ["site"])
    op.create_table(
        "codes",
        sa.Column("secret_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("user", sa.String(64), nullable=False),
        sa.Column("client_id", sa.String(2048), nullable=False),
        sa.Column("client_name", sa.String(200), nullable=False),
        sa.Column("redirect_uri", sa.String(2048), nullable=False),
        sa.Column("challenge", sa.String(43), nullable=False),
        sa.Column("resource", sa.String(2048), nullable=False),
        sa.Column("site", sa.String(40), nullable=False),
        sa.Column("server", sa.String(40), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("used_at", sa.Double(), nullable=True),
        sa.Column("grant_id", sa.String(40), nullable=True),
        sa.PrimaryKeyConstraint("secret_hash", name="pk_codes"),
        sa.ForeignKeyConstraint(["user"], ["users.name"], name="fk_codes_user"),
        sa.ForeignKeyConstraint(["grant_id"], ["grants.id"], name="fk_codes_grant_id"),
    )
    op.create_index("ix_codes_expires_at", "codes", ["expires_at"])
    op.create_table(
        "grant_tokens",
        sa.Column("public_id", sa.String(40), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("refresh", sa.Boolean(), nullable=False),
        sa.Column("grant_id", sa.String(40), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("used_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("public_id", name="pk_grant_tokens"),
        sa.ForeignKeyConstraint(["grant_id"], ["grants.id"], name="fk_grant_tokens_grant_id"),
    )
    op.create_index("ix_grant_tokens_grant_id", "grant_tokens", ["grant_id"])
