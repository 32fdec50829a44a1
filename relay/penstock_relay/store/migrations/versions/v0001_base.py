"""Sites, agents, invites, tokens, and the change sequence."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    changes = op.create_table(
        "changes",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_changes"),
    )
    op.bulk_insert(changes, [{"id": 1, "sequence": 0}])
    op.create_table(
        "sites",
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_sites"),
    )
    op.create_table(
        "agents",
        sa.Column("site", sa.String(40), nullable=False),
        sa.Column("agent", sa.String(40), nullable=False),
        sa.Column("serial", sa.String(40), nullable=False),
        sa.Column("not_after", sa.Double(), nullable=False),
        sa.Column("enrolled_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("site", "agent", name="pk_agents"),
        sa.UniqueConstraint("serial", name="uq_agents_serial"),
        sa.ForeignKeyConstraint(["site"], ["sites.name"], name="fk_agents_site"),
    )
    op.create_table(
        "invites",
        sa.Column("secret_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("site", sa.String(40), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("used_at", sa.Double(), nullable=True),
        sa.Column("used_by", sa.String(40), nullable=True),
        sa.PrimaryKeyConstraint("secret_hash", name="pk_invites"),
        sa.ForeignKeyConstraint(["site"], ["sites.name"], name="fk_invites_site"),
        sa.ForeignKeyConstraint(
            ["site", "used_by"], ["agents.site", "agents.agent"], name="fk_invites_site_used_by"
        ),
    )
    op.create_table(
        "tokens",
        sa.Column("public_id", sa.String(40), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("site", sa.String(40), nullable=False),
        sa.Column("server", sa.String(40), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("public_id", name="pk_tokens"),
        sa.ForeignKeyConstraint(["site"], ["sites.name"], name="fk_tokens_site"),
    )
    op.create_index("ix_tokens_site", "tokens", ["site"])
