"""Logins that were ended before their time."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "logouts",
        sa.Column("login_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("login_hash", name="pk_logouts"),
    )
    op.create_index("ix_logouts_expires_at", "logouts", ["expires_at"])
