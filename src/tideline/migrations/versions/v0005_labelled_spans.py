"""Which labelled rows a verdict judged: labels come later than a window lasts."""

import sqlalchemy as sa
from alembic import op

revision = "v0005"
down_revision = "v0004"


def upgrade() -> None:
    """Two more columns; a verdict of before judged the labels of its own window."""
    op.add_column("verdicts", sa.Column("labelled_first", sa.BigInteger))
    op.add_column("verdicts", sa.Column("labelled_last", sa.BigInteger))
    op.execute(
        "UPDATE verdicts SET labelled_first = first, labelled_last = last "
        "WHERE CAST(verdict AS TEXT) LIKE '%\"realised error\"%'"
    )
    op.create_index("verdicts_by_labels", "verdicts", ["task", "version", "labelled_last"])


def downgrade() -> None:
    """There is nothing to go back to."""
    raise NotImplementedError("restore a backup, or begin a new store")
