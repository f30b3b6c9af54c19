"""The tables as SQLAlchemy sees them. migrations/ makes them; a test holds both together."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSON

# PostgreSQL's `json` keeps the text as it was written, which `jsonb` does not.
JsonText = sa.Text().with_variant(JSON(), "postgresql")
Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite counts INTEGER PRIMARY KEY by itself

metadata = sa.MetaData()

predictions = sa.Table(
    "predictions",
    metadata,
    sa.Column("prediction_id", sa.Text, primary_key=True),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("time", sa.BigInteger, nullable=False),  # µs since 1970-01-01 UTC
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("key", sa.Text),
    sa.Column("route", sa.Text),
    sa.Column("features", JsonText, nullable=False),
    sa.Column("prediction", sa.Double),
    sa.Column("predicted_class", sa.Text),
    sa.Column("probabilities", JsonText),
    sa.Column("intervals", JsonText),
    sa.Column("latency", sa.BigInteger, nullable=False),  # µs
    sa.CheckConstraint("role IN ('champion', 'canary', 'shadow')", name="role_is_known"),
    # A value that is not a number becomes NULL in SQLite: it is refused here.
    sa.CheckConstraint("(prediction IS NULL) <> (predicted_class IS NULL)", name="number_or_class"),
    sa.Index("predictions_by_time", "task", "time"),
)

labels = sa.Table(
    "labels",
    metadata,
    sa.Column("label_id", Serial, primary_key=True),
    sa.Column("prediction_id", sa.Text, nullable=False),
    sa.Column("label", sa.Double),
    sa.Column("label_class", sa.Text),
    sa.Column("time", sa.BigInteger, nullable=False),  # µs since 1970-01-01 UTC, when it was received
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("is_current", sa.Boolean, nullable=False),
    sa.CheckConstraint("(label IS NULL) <> (label_class IS NULL)", name="label_number_or_class"),
    sa.Index("labels_by_prediction", "prediction_id", "label_id"),
    sa.Index(
        "one_current_label",
        "prediction_id",
        unique=True,
        sqlite_where=sa.text("is_current"),
        postgresql_where=sa.text("is_current"),
    ),
)

verdicts = sa.Table(
    "verdicts",
    metadata,
    sa.Column("verdict_id", Serial, primary_key=True),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("judged", sa.BigInteger, nullable=False),  # µs since 1970-01-01 UTC
    sa.Column("first", sa.BigInteger),  # times of the window's first and last row; null if it was empty
    sa.Column("last", sa.BigInteger),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("verdict", JsonText, nullable=False),
    sa.Column("labelled_first", sa.BigInteger),  # the same of the rows whose labels it judged; null if it judged none
    sa.Column("labelled_last", sa.BigInteger),
    sa.Index("verdicts_by_version", "task", "version", "last"),
    sa.Index("verdicts_by_labels", "task", "version", "labelled_last"),
)

alerts = sa.Table(
    "alerts",
    metadata,
    sa.Column("alert_id", Serial, primary_key=True),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),  # what it is about: the same again is not told again for a while
    sa.Column("raised", sa.BigInteger, nullable=False),  # µs since 1970-01-01 UTC
    sa.Column("last", sa.BigInteger),  # time of the last row of the window that it is about
    sa.Column("alert", JsonText, nullable=False),
    sa.Index("alerts_by_rule", "task", "source", "rule", "alert_id"),
)

alert_deliveries = sa.Table(
    "alert_deliveries",
    metadata,
    sa.Column("alert_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("attempts", sa.BigInteger, nullable=False),
    sa.Column("claimed", sa.BigInteger),  # until then (µs) a process is at it
    sa.Column("sent", sa.BigInteger),  # µs; null: not yet
    sa.Column("error", sa.Text, nullable=False),  # of the last attempt
    sa.Index(
        "alerts_that_wait",
        "channel",
        "alert_id",
        sqlite_where=sa.text("sent IS NULL"),
        postgresql_where=sa.text("sent IS NULL"),
    ),
)

# Of a label or a prediction that takes part in figures: the fourth power of its error, summed, is still a number.
LARGEST = 1e60


def counts_in_figures() -> sa.ColumnElement[bool]:
    """Whether a labelled row takes part in figures: of numbers, only those that are not larger than `LARGEST`."""
    numbers = sa.and_(sa.func.abs(labels.c.label) <= LARGEST, sa.func.abs(predictions.c.prediction) <= LARGEST)
    return sa.or_(labels.c.label.is_(None), numbers)


# Whose label counts for a row: a shadow's request is the prediction that it was made beside.
labelled_id = sa.case(
    (predictions.c.role == "shadow", predictions.c.request_id),
    else_=predictions.c.prediction_id,
)
