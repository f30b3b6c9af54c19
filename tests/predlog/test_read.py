"""What is read is what was written: tables, counts, live error, the analysts' view."""

from __future__ import annotations

import math
import random
from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
import sqlalchemy as sa
from scipy import stats

from tests.predlog.samples import COLUMNS, START, make_pets, make_rents
from tideline.contracts import TidelineError
from tideline.predlog import Label, Moments, Store
from tideline.predlog.live import bound_mean, bound_share, student_quantile
from tideline.predlog.read import iterate


def test_tables_hold_what_was_written_in_order_of_time(store: Store) -> None:
    records = make_rents(1_000) + make_pets(10)
    records += make_rents(
        300, start=START + 500_000, version="v0002-cccc", role="canary"
    )  # among the first ones in time
    random.Random(1).shuffle(records)
    store.append(records)
    rents = sorted((r for r in records if r.task == "rent"), key=lambda r: (r.time, r.prediction_id))
    store.record_labels([Label(rents[5].prediction_id, 7.5)], source="key", now=START + 10_000_000)
    tables = list(iterate(store.database, "rent", columns=COLUMNS, batch=128))
    assert [len(t) for t in tables] == [128] * 10 + [20]
    table = pa.concat_tables(tables)
    for name in ("prediction_id", "request_id", "version", "role", "key", "route", "prediction", "latency"):
        assert table[name].to_pylist() == [getattr(r, name) for r in rents], name
    for column in COLUMNS:
        written = [r.features[column.name] for r in rents]
        expected = [date.fromisoformat(v) for v in written] if column.kind == "date" else written
        assert table[f"features.{column.name}"].to_pylist() == expected
    assert table["time"][5].as_py() == datetime.fromtimestamp(rents[5].time / 1e6, UTC)
    assert table["label"].to_pylist()[4:7] == [None, 7.5, None] and table["label_source"][5].as_py() == "key"
    assert rents[5].prediction is not None
    assert table["absolute_error"][5].as_py() == abs(rents[5].prediction - 7.5)


def test_time_version_and_role_limit_what_is_read(store: Store) -> None:
    store.append(make_rents(100) + make_rents(50, version="v2", role="shadow"))
    assert sum(len(t) for t in store.iterate("rent", since=START + 10_000, until=START + 30_000)) == 40
    assert sum(len(t) for t in store.iterate("rent", version="v2")) == 50
    assert sum(len(t) for t in store.iterate("rent", role="champion")) == 100
    assert list(store.iterate("rent", role="canary")) == [] and list(store.iterate("boats")) == []


def test_many_rows_of_one_moment_are_each_read_once(store: Store) -> None:
    store.append([*make_rents(1), *(r for i in range(500) for r in make_rents(1, seed=i))])
    tables = list(iterate(store.database, "rent", batch=100))
    ids = [name for table in tables for name in table["prediction_id"].to_pylist()]
    assert len(ids) == len(set(ids)) == 501


def test_features_as_text_and_features_that_do_not_fit(store: Store) -> None:
    store.append(make_rents(1, features='{"size": 1.50, "more": [1]}') + make_pets(1))
    (table,) = store.iterate("rent")
    assert table["features"].to_pylist() == ['{"size": 1.50, "more": [1]}']  # as it was written
    (table,) = store.iterate("rent", columns=COLUMNS)
    assert table["features.size"].to_pylist() == [1.5] and table["features.day"].to_pylist() == [None]
    store.append(make_rents(1, features={"size": "large"}))
    with pytest.raises(
        TidelineError, match=r"prediction \w{20}: its features do not fit the columns .*read the log without"
    ):
        list(store.iterate("rent", columns=COLUMNS))


def test_counts_by_task_version_and_role(store: Store) -> None:
    rents = make_rents(30)
    store.append(rents + make_rents(20, version="v2", role="canary", start=START + 1) + make_pets(5))
    store.record_labels([Label(r.prediction_id, v) for v in (1.0, 2.0) for r in rents[:10]])
    found = [
        (c.task, c.version, c.role, c.predictions, c.labelled, c.first - START, c.last - START) for c in store.counts()
    ]
    assert found == [
        ("pets", "v0002-bbbb", "champion", 5, 0, 0, 4_000),
        ("rent", "v0001-aaaa", "champion", 30, 10, 0, 29_000),
        ("rent", "v2", "canary", 20, 0, 1, 19_001),
    ]


def test_live_error_of_numbers(store: Store) -> None:
    rents = make_rents(400, prediction=300.0, intervals={"0.8": [290.0, 310.0], "0.95": [280.0, 330.0]})
    store.append(rents + make_rents(50, start=START + 1, version="v2", role="shadow"))
    draw = random.Random(3)
    values = [draw.gauss(300, 12) for _ in range(250)]
    store.record_labels([Label(r.prediction_id, 0.0) for r in rents[:250]])
    store.record_labels(
        [Label(r.prediction_id, v) for r, v in zip(rents, values, strict=False)]
    )  # corrected: these count
    champion, shadow = store.live_error("rent", since=START)
    errors = [v - 300 for v in values]
    assert (champion.version, champion.role, champion.n, champion.labelled) == ("v0001-aaaa", "champion", 400, 250)
    assert champion.rmse is not None and champion.mae is not None and champion.accuracy is None
    mean, low, high = student([e * e for e in errors])
    assert champion.rmse.value == pytest.approx(math.sqrt(mean))
    assert (champion.rmse.low, champion.rmse.high) == pytest.approx((math.sqrt(low), math.sqrt(high)), rel=1e-5)
    mean, low, high = student([abs(e) for e in errors])
    assert (champion.mae.value, champion.mae.low, champion.mae.high) == pytest.approx((mean, low, high), rel=1e-5)
    assert champion.coverage["0.8"].value == sum(290 <= v <= 310 for v in values) / 250
    assert champion.coverage["0.95"].value == sum(280 <= v <= 330 for v in values) / 250
    assert (shadow.n, shadow.labelled, shadow.rmse, shadow.coverage) == (50, 0, None, {})
    assert store.live_error("rent", since=START + 10**9) == [] and store.live_error("boats") == []


def test_live_error_of_classes(store: Store) -> None:
    pets = make_pets(100)
    store.append(pets)
    store.record_labels(
        [Label(p.prediction_id, "cat" if i < 60 else "dog" if i < 70 else "eel") for i, p in enumerate(pets[:80])]
    )
    (live,) = store.live_error("pets")
    expected = stats.binomtest(60, 80).proportion_ci(0.95, method="wilson")
    assert live.accuracy is not None and live.rmse is None and (live.n, live.labelled) == (100, 80)
    assert (live.accuracy.value, live.accuracy.low, live.accuracy.high) == pytest.approx(
        (0.75, expected.low, expected.high)
    )
    assert live.coverage["0.8"].value == 60 / 80 and live.coverage["0.95"].value == 70 / 80


def student(values: list[float]) -> tuple[float, float, float]:
    interval = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    return sum(values) / len(values), interval.low, interval.high


def test_estimates_of_few_labels() -> None:
    one = bound_mean(Moments(1, 3.0))
    assert (one.value, one.low, one.high) == (3.0, None, None)
    assert bound_share(1.0, 1).low == pytest.approx(0.2065, abs=1e-4) and bound_share(1.0, 1).high == 1.0
    for degrees in (1, 2, 3, 4, 7, 30, 1000):
        assert student_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=2e-3)


def test_view_is_for_analysts(store: Store) -> None:
    rents = make_rents(20)
    store.append(rents)
    store.record_labels([Label(rents[0].prediction_id, 100.0)], now=rents[0].time + 3_600_000_000)
    size = "json_extract(features, '$.size')" if store.database.dialect == "sqlite" else "(features->>'size')::float"
    query = f"""
        SELECT version, count(*) AS n, count(label) AS labelled, avg(absolute_error) AS mae, avg(lag_seconds) AS lag,
               max({size}) AS largest, min(at) AS since
        FROM predictions_with_labels WHERE task = 'rent' GROUP BY version
    """
    with store.database.connect() as connection:
        row = connection.execute(sa.text(query)).one()
    assert rents[0].prediction is not None
    assert (row.n, row.labelled, row.lag, row.mae) == (20, 1, 3_600.0, pytest.approx(abs(rents[0].prediction - 100)))
    assert row.largest == max(r.features["size"] or 0 for r in rents)
    assert str(row.since).startswith("2023-11-14 22:13:20")


def test_whole_numbers_may_have_come_with_a_point(store: Store) -> None:
    records = make_rents(3)
    for record, floor in zip(records, ("7.0", "7", "7.5"), strict=True):
        record.features = f'{{"size": 1, "floor": {floor}, "kind of home": "a", "day": "2024-02-01", "time": 2}}'
    store.append(records[:2])
    (table,) = iterate(store.database, "rent", columns=COLUMNS)
    assert table["features.floor"].to_pylist() == [7, 7]
    store.append(records[2:])
    with pytest.raises(TidelineError, match=r"features.floor is 7.5, expected a whole number"):
        list(iterate(store.database, "rent", columns=COLUMNS))
