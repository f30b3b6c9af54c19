"""Estimated errors: the arrays say what scikit-learn says, and tell harder rows from easier ones without a label."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from sklearn.tree import DecisionTreeRegressor

from tests.small_task import RENT, make_frame
from tideline.error_model import ErrorModel, _walk, fit_error_model
from tideline.predictor import columns_from_frame


def make_rows(rows: int, seed: int, large: float = 0.5) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Columns, predictions and errors; errors are four times as large on high floors, a share `large`."""
    random = np.random.default_rng(seed + 1_000)  # not the draws that make_frame makes
    frame = make_frame(rows, seed)
    frame["floor"] = np.where(random.random(rows) < large, 15.0, 3.0)
    columns = columns_from_frame(RENT, frame)
    errors = random.exponential(np.where(frame["floor"] > 10, 40.0, 10.0))
    return columns, frame["price"].to_numpy(), errors


@pytest.fixture(scope="module")
def model() -> ErrorModel:
    return fit_error_model(RENT, *make_rows(4_000, 0), seed=42)


def test_tree_as_arrays_answers_as_scikit_learn_does() -> None:
    random = np.random.default_rng(0)
    X = random.normal(size=(3_000, 4)).astype(np.float32)
    X[random.random(X.shape) < 0.2] = np.nan
    fitted = DecisionTreeRegressor(max_depth=5).fit(X[:2_000], np.nan_to_num(X[:2_000]).sum(axis=1))
    tree = fitted.tree_
    arrays = {
        "feature": np.maximum(tree.feature, -1).tolist(), "threshold": tree.threshold.tolist(),
        "left": tree.children_left.tolist(), "right": tree.children_right.tolist(),
        "missing_left": tree.missing_go_to_left.astype(int).tolist(), "value": tree.value[:, 0, 0].tolist(),
    }  # fmt: skip
    np.testing.assert_allclose(_walk(arrays, X), fitted.predict(X), rtol=1e-12)


def test_mean_error_of_easier_and_harder_rows_is_estimated(model: ErrorModel) -> None:
    for large in (0.0, 0.5, 1.0):
        columns, predicted, errors = make_rows(4_000, 1, large)
        assert model.estimate(columns, predicted).mean() == pytest.approx(errors.mean(), rel=0.1)
    # Of an exponential error only the mean can be told: (15^2) / (15^2 + (10^2 + 40^2) / 2) of its variance.
    assert model.skill == pytest.approx(0.21, abs=0.06)
    assert model.mean == pytest.approx(25.0, rel=0.1)


def test_it_is_seeded_and_survives_json(model: ErrorModel) -> None:
    again = fit_error_model(RENT, *make_rows(4_000, 0), seed=42)
    assert json.dumps(asdict(again), allow_nan=False) == json.dumps(asdict(model))
    columns, predicted, _ = make_rows(500, 2)
    columns["kind"] = np.full(500, "never seen", dtype=object)
    columns["size"] = np.full(500, np.nan)
    back = ErrorModel.from_dict(json.loads(json.dumps(asdict(model))))
    np.testing.assert_array_equal(back.estimate(columns, predicted), model.estimate(columns, predicted))


def test_errors_that_nothing_explains_have_no_skill() -> None:
    columns, predicted, _ = make_rows(1_000, 3)
    flat = fit_error_model(RENT, columns, predicted, np.full(1_000, 7.0), seed=1)
    assert flat.skill == 0.0
    np.testing.assert_allclose(flat.estimate(columns, predicted), 7.0)
