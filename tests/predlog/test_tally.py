"""The sums that the database makes agree with what is computed row by row, in both databases and roles."""

from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy as sa

from tests.predlog.samples import make_pets, make_rents
from tideline.bandit import share_requests
from tideline.predlog import NONE, Label, Store


def test_tally_agrees_with_the_report(store: Store) -> None:
    random = np.random.default_rng(3)
    values, truth = random.normal(1e5, 2e4, 40), random.normal(1e5, 2e4, 40)
    records, beside = make_rents(40), make_rents(40, role="shadow", version="v0002-bbbb")
    ids = [record.prediction_id for record in records]
    for i, (record, shadow) in enumerate(zip(records, beside, strict=True)):
        record.prediction, record.request_id, record.latency = float(values[i]), ids[i - i % 4], 100 + i
        shadow.prediction, shadow.request_id = float(values[i]) + 7.0, ids[i]
    records += beside
    store.append(records)
    store.record_labels([Label(name, float(y)) for name, y in zip(ids[:30], truth, strict=False)])
    task = records[0].task
    found = {t.role: t for t in store.tally(task, 0)}
    report = {e.role: e for e in store.live_error(task)}
    for role in ("champion", "shadow"):
        t, e = found[role], report[role]
        assert (t.predictions, t.loss.n, t.is_share) == (40, 30, False) == (e.n, e.labelled, False)
        assert e.mae is not None and e.rmse is not None
        assert t.loss.mean == pytest.approx(e.mae.value, rel=1e-12)
        assert np.sqrt(t.square.mean) == pytest.approx(e.rmse.value, rel=1e-12)
    errors = np.abs(values[:30] - truth[:30])
    assert found["champion"].loss.deviation == pytest.approx(errors.std(ddof=1), rel=1e-9)
    assert found["champion"].square.deviation == pytest.approx((errors**2).std(ddof=1), rel=1e-9)
    latencies = 100 + np.arange(0, 40, 4)  # one a request
    assert found["champion"].latency.n == 10 and found["shadow"].latency.n == 0
    assert found["champion"].latency.mean == pytest.approx(latencies.mean())


@pytest.mark.parametrize("absurd", [1e61, 1e77, 1e155, -1e160, 1.7e308])
def test_an_absurd_label_that_is_there_spoils_nothing(store: Store, absurd: float) -> None:
    """Beyond what is taken now, but a store may hold it from earlier: it counts as no label."""
    records = make_rents(60, prediction=300.0)
    store.append(records)
    store.record_labels([Label(record.prediction_id, 300.0 + i % 3) for i, record in enumerate(records[:50])])
    store.record_labels([Label(record.prediction_id, 0.0) for record in records[50:52]])
    with store.database.transaction() as connection:
        change = "UPDATE labels SET label = :value WHERE prediction_id = :name"
        connection.execute(sa.text(change), {"value": absurd, "name": records[50].prediction_id})
    (found,) = store.tally(records[0].task, 0)
    (report,) = store.live_error(records[0].task)
    assert (found.predictions, found.loss.n) == (report.n, report.labelled) == (60, 51)
    assert found.loss.mean == pytest.approx((sum(i % 3 for i in range(50)) + 300) / 51)
    assert report.mae is not None and report.mae.value == pytest.approx(found.loss.mean)
    assert np.isfinite([found.loss.deviation, found.square.mean, found.square.deviation]).all()


def test_the_largest_label_can_be_summed(store: Store) -> None:
    records = make_rents(1_000, prediction=1e38)
    store.append(records)
    answers = store.record_labels([Label(record.prediction_id, 1e60 * (-1) ** i) for i, record in enumerate(records)])
    assert {answer.state for answer in answers} == {"accepted"}
    (found,) = store.tally(records[0].task, 0)
    assert np.isfinite([found.loss.deviation, found.square.mean, found.square.deviation]).all()
    assert sum(share_requests([found.loss, found.loss, NONE])) == pytest.approx(1.0)
    (report,) = store.live_error(records[0].task)
    assert report.mae is not None and report.mae.value == pytest.approx(1e60)


def test_classes_are_counted_by_misses(store: Store) -> None:
    records = make_pets(20)
    for i, record in enumerate(records):
        record.predicted_class = "cat" if i < 15 else "dog"
    store.append(records)
    store.record_labels([Label(record.prediction_id, "cat") for record in records])
    (found,) = store.tally(records[0].task, 0)
    assert found.is_share and found.loss.n == 20 and found.loss.mean == 0.25
