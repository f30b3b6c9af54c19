"""What the monitor found, window by window."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSON

revision = "v0003"
down_revision = "v0002"


def upgrade() -> None:
    """One more table."""
    op.create_table(
        "verdicts",
        sa.Column("verdict_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("judged", sa.BigInteger, nullable=False),
        sa.Column("first", sa.BigInteger),
        sa.Column("last", sa.BigInteger),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text().with_variant(JSON(), "postgresql"), nullable=False),
    )
    op.create_index("verdicts_by_version", "verdicts", ["task", "version", "last"])


def downgrade() -> None:
    """There is nothing to go back to."""
    raise NotImplementedError("restore a backup, or begin a new store")
