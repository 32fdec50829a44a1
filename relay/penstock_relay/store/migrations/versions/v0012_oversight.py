"""Heads of the ledgers on site, and when a site was suspended."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("sites", sa.Column("suspended_at", sa.Double()))
    op.create_table(
        "ledger_heads",
        sa.Column("site", sa.String(40), nullable=False),
        sa.Column("agent", sa.String(40), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("ledger", sa.LargeBinary(32), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("signature", sa.LargeBinary(64), nullable=False),
        sa.Column("stored_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site", "agent"], ["agents.site", "agents.agent"], name="fk_ledger_heads_site_agent"
        ),
        sa.PrimaryKeyConstraint("site", "agent", "ordinal", "n", name="pk_ledger_heads"),
    )
