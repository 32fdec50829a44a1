"""Grants that the company's own provider signed, and consents that wait for that."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("grants", sa.Column("proof", sa.Text(), nullable=True))
    op.add_column("codes", sa.Column("proof", sa.Text(), nullable=True))
    op.add_column("consents", sa.Column("challenge", sa.String(128), nullable=True))
