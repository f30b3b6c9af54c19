"""Who was told what: alerts, and their delivery by each channel."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSON

revision = "v0004"
down_revision = "v0003"


def upgrade() -> None:
    """Two more tables."""
    op.create_table(
        "alerts",
        sa.Column("alert_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("raised", sa.BigInteger, nullable=False),
        sa.Column("last", sa.BigInteger),
        sa.Column("alert", sa.Text().with_variant(JSON(), "postgresql"), nullable=False),
    )
    op.create_index("alerts_by_rule", "alerts", ["task", "source", "rule", "alert_id"])
    op.create_table(
        "alert_deliveries",
        sa.Column("alert_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("attempts", sa.BigInteger, nullable=False),
        sa.Column("claimed", sa.BigInteger),
        sa.Column("sent", sa.BigInteger),
        sa.Column("error", sa.Text, nullable=False),
    )
    condition = sa.text("sent IS NULL")
    op.create_index(
        "alerts_that_wait",
        "alert_deliveries",
        ["channel", "alert_id"],
        sqlite_where=condition,
        postgresql_where=condition,
    )


def downgrade() -> None:
    """There is nothing to go back to."""
    raise NotImplementedError("restore a backup, or begin a new store")
