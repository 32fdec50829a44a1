"""What agents say waits for their site's administrator."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "notices",
        sa.Column("site", sa.String(40), nullable=False),
        sa.Column("agent", sa.String(40), nullable=False),
        sa.Column("withheld", sa.BigInteger(), nullable=False),
        sa.Column("waiting", sa.BigInteger(), nullable=False),
        sa.Column("ledger_failing", sa.Boolean(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("stored_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site", "agent"], ["agents.site", "agents.agent"], name="fk_notices_site_agent"
        ),
        sa.PrimaryKeyConstraint("site", "agent", name="pk_notices"),
    )
