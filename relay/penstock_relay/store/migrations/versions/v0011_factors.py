"""Second factors of local accounts, and their recovery codes."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "factors",
        sa.Column("user", sa.String(64), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("last_step", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["user"], ["users.name"], name="fk_factors_user"),
        sa.PrimaryKeyConstraint("user", name="pk_factors"),
    )
    op.create_table(
        "recovery_codes",
        sa.Column("secret_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("user", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["user"], ["users.name"], name="fk_recovery_codes_user"),
        sa.PrimaryKeyConstraint("secret_hash", name="pk_recovery_codes"),
    )
    op.create_index("ix_recovery_codes_user", "recovery_codes", ["user"])
