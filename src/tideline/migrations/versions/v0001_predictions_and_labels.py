"""Predictions, labels, and the view that puts both together."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSON

revision = "v0001"
down_revision = None

_VIEW = """
CREATE VIEW predictions_with_labels AS
SELECT
    p.prediction_id, p.request_id, p.time, {at} AS at, p.task, p.version, p.role, p.key, p.route,
    p.features, p.prediction, p.predicted_class, p.probabilities, p.intervals, p.latency,
    l.label, l.label_class, l.time AS label_time, l.source AS label_source,
    CASE
        WHEN l.label IS NOT NULL THEN abs(p.prediction - l.label)
        WHEN l.label_class IS NOT NULL THEN CASE WHEN l.label_class = p.predicted_class THEN 0.0 ELSE 1.0 END
    END AS absolute_error,
    (l.time - p.time) / 1e6 AS lag_seconds
FROM predictions AS p
LEFT JOIN labels AS l ON l.prediction_id = p.prediction_id AND l.is_current
"""
_AT = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', p.time / 1e6, 'unixepoch')",
    "postgresql": "to_timestamp(p.time / 1e6)",
}


def upgrade() -> None:
    """From nothing."""
    json_text = sa.Text().with_variant(JSON(), "postgresql")
    op.create_table(
        "predictions",
        sa.Column("prediction_id", sa.Text, primary_key=True),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("route", sa.Text),
        sa.Column("features", json_text, nullable=False),
        sa.Column("prediction", sa.Double),
        sa.Column("predicted_class", sa.Text),
        sa.Column("probabilities", json_text),
        sa.Column("intervals", json_text),
        sa.Column("latency", sa.BigInteger, nullable=False),
        sa.CheckConstraint("role IN ('champion', 'canary', 'shadow')", name="role_is_known"),
        sa.CheckConstraint("(prediction IS NULL) <> (predicted_class IS NULL)", name="number_or_class"),
    )
    op.create_index("predictions_by_time", "predictions", ["task", "time"])
    op.create_table(
        "labels",
        sa.Column("label_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("prediction_id", sa.Text, nullable=False),
        sa.Column("label", sa.Double),
        sa.Column("label_class", sa.Text),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("is_current", sa.Boolean, nullable=False),
        sa.CheckConstraint("(label IS NULL) <> (label_class IS NULL)", name="label_number_or_class"),
    )
    op.create_index("labels_by_prediction", "labels", ["prediction_id", "label_id"])
    condition = sa.text("is_current")
    op.create_index(
        "one_current_label",
        "labels",
        ["prediction_id"],
        unique=True,
        sqlite_where=condition,
        postgresql_where=condition,
    )
    op.execute(_VIEW.format(at=_AT[op.get_bind().dialect.name]))


def downgrade() -> None:
    """There is nothing to go back to."""
    raise NotImplementedError("restore a backup, or begin a new store")
