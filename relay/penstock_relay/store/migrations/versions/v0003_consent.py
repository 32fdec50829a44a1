"""What of a server a grant allows, consents that wait for their client, and which token came of which."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("grants", sa.Column("allowed", sa.Text(), nullable=True))
    op.add_column("codes", sa.Column("allowed", sa.Text(), nullable=True))
    op.add_column("grant_tokens", sa.Column("parent", sa.String(40), nullable=True))
    op.create_index("ix_grant_tokens_parent", "grant_tokens", ["parent"])
    op.create_table(
        "consents",
        sa.Column("user", sa.String(64), nullable=False),
        sa.Column("client_id", sa.String(512), nullable=False),
        sa.Column("redirect_uri", sa.String(2048), nullable=False),
        sa.Column("site", sa.String(40), nullable=False),
        sa.Column("server", sa.String(40), nullable=False),
        sa.Column("allowed", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("user", "client_id", "site", "server", name="pk_consents"),
        sa.ForeignKeyConstraint(["user"], ["users.name"], name="fk_consents_user"),
    )
