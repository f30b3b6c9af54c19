"""A shadow's row names, as its request, the prediction it was made beside: that one's label counts for it as well."""

import sqlalchemy as sa
from alembic import op

revision = "v0002"
down_revision = "v0001"

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
LEFT JOIN labels AS l
    ON l.prediction_id = CASE WHEN p.role = 'shadow' THEN p.request_id ELSE p.prediction_id END AND l.is_current
"""
_AT = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', p.time / 1e6, 'unixepoch')",
    "postgresql": "to_timestamp(p.time / 1e6)",
}


def upgrade() -> None:
    """The view alone."""
    op.execute(sa.text("DROP VIEW predictions_with_labels"))
    op.execute(_VIEW.format(at=_AT[op.get_bind().dialect.name]))


def downgrade() -> None:
    """There is nothing to go back to."""
    raise NotImplementedError("restore a backup, or begin a new store")
