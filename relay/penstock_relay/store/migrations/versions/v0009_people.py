"""Roles, memberships of groups, users of an identity provider, and logins that can be ended."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.drop_table("logouts")  # a login is a row now, and ends with it
    op.add_column("memberships", sa.Column("role", sa.String(20), nullable=False, server_default="user"))
    op.create_table(
        "group_memberships",
        sa.Column("group", sa.String(200), nullable=False),
        sa.Column("site", sa.String(40), nullable=False),
        sa.Column("server", sa.String(40), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("group", "site", "server", name="pk_group_memberships"),
        sa.ForeignKeyConstraint(["site"], ["sites.name"], name="fk_group_memberships_site"),
    )
    op.create_table(
        "relay_admins",
        sa.Column("user", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("user", name="pk_relay_admins"),
        sa.ForeignKeyConstraint(["user"], ["users.name"], name="fk_relay_admins_user"),
    )
    op.create_table(
        "upstream_users",
        sa.Column("issuer", sa.String(512), nullable=False),
        sa.Column("subject", sa.String(1024), nullable=False),
        sa.Column("user", sa.String(64), nullable=False),
        sa.Column("full_name", sa.String(200), nullable=False),
        sa.Column("checked_at", sa.Double(), nullable=False),
        sa.Column("refresh", sa.LargeBinary(), nullable=True),
        sa.Column("checking_until", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("issuer", "subject", name="pk_upstream_users"),
        sa.ForeignKeyConstraint(["user"], ["users.name"], name="fk_upstream_users_user"),
        sa.UniqueConstraint("user", name="uq_upstream_users_user"),
    )
    op.create_table(
        "user_groups",
        sa.Column("user", sa.String(64), nullable=False),
        sa.Column("group", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("user", "group", name="pk_user_groups"),
        sa.ForeignKeyConstraint(["user"], ["users.name"], name="fk_user_groups_user"),
    )
    op.create_index("ix_user_groups_group", "user_groups", ["group"])
    op.create_table(
        "logins",
        sa.Column("secret_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("user", sa.String(64), nullable=False),
        sa.Column("sid", sa.String(255), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("secret_hash", name="pk_logins"),
        sa.ForeignKeyConstraint(["user"], ["users.name"], name="fk_logins_user"),
    )
    op.create_index("ix_logins_user", "logins", ["user"])
    op.create_index("ix_logins_sid", "logins", ["sid"])
    op.create_index("ix_logins_expires_at", "logins", ["expires_at"])
    op.create_table(
        "logout_tokens",
        sa.Column("jti_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("jti_hash", name="pk_logout_tokens"),
    )
    op.create_index("ix_logout_tokens_expires_at", "logout_tokens", ["expires_at"])
