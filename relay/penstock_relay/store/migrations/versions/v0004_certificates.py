"""The life of agents' certificates: generations, approval, revocation, locks."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # The default stays: SQLite would have to copy the table to take it away, and others refer to it.
    op.add_column(
        "sites", sa.Column("require_approval", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    for column in (
        sa.Column("approved_at", sa.Double(), nullable=True),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.Column("locked_at", sa.Double(), nullable=True),
        sa.Column("lock", sa.String(20), nullable=True),
    ):
        op.add_column("agents", column)
    op.execute("UPDATE agents SET approved_at = enrolled_at")
    op.add_column("invites", sa.Column("replaces", sa.String(40), nullable=True))
    op.create_table(
        "agent_certificates",
        sa.Column("serial", sa.String(40), nullable=False),
        sa.Column("site", sa.String(40), nullable=False),
        sa.Column("agent", sa.String(40), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(32), nullable=True),
        sa.Column("issued_at", sa.Double(), nullable=False),
        sa.Column("not_after", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=True),
        sa.Column("abandoned_at", sa.Double(), nullable=True),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("serial", name="pk_agent_certificates"),
        sa.ForeignKeyConstraint(
            ["site", "agent"], ["agents.site", "agents.agent"], name="fk_agent_certificates_site_agent"
        ),
        sa.UniqueConstraint(
            "site", "agent", "generation", name="uq_agent_certificates_site_agent_generation"
        ),
    )
    # The certificates that agents have now are their first generation. Their keys were not kept.
    op.execute(
        "INSERT INTO agent_certificates (serial, site, agent, generation, issued_at, not_after) "
        "SELECT serial, site, agent, 1, enrolled_at, not_after FROM agents"
    )
