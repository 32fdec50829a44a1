"""Clients that the operator made, and clients that sign."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0003"


def upgrade() -> None:
    op.add_column(
        "clients", sa.Column("preregistered", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("clients", sa.Column("jwks", sa.LargeBinary(), nullable=True))
    op.create_table(
        "signing_clients",
        sa.Column("client_id", sa.String(2048), nullable=False),
        sa.Column("jwks", sa.LargeBinary(), nullable=True),
        sa.Column("jwks_uri", sa.String(2048), nullable=True),
        sa.Column("algorithm", sa.String(16), nullable=True),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("client_id", name="pk_signing_clients"),
    )
