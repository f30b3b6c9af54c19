"""Measures against scikit-learn, and against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import sklearn.metrics as reference

from tideline import metrics


@pytest.fixture
def numbers() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    actual = generator.lognormal(12, 0.5, 500)
    return actual, actual + generator.normal(0, 3e4, 500)


@pytest.fixture
def classes() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(4)
    codes = generator.integers(0, 4, 600)
    scores = generator.normal(size=(600, 4)) + 1.5 * np.eye(4)[codes]
    shares = np.exp(scores)
    return codes, (shares / shares.sum(axis=1, keepdims=True)).round(3) + 0.0  # rounding makes ties for the AUC


def test_regression_measures_agree_with_scikit_learn(numbers: tuple[np.ndarray, np.ndarray]) -> None:
    actual, predicted = numbers
    assert metrics.rmse(actual, predicted) == pytest.approx(reference.root_mean_squared_error(actual, predicted))
    assert metrics.mae(actual, predicted) == pytest.approx(reference.mean_absolute_error(actual, predicted))
    assert metrics.mape(actual, predicted) == pytest.approx(reference.mean_absolute_percentage_error(actual, predicted))
    assert metrics.r2(actual, predicted) == pytest.approx(reference.r2_score(actual, predicted))


def test_regression_measures_by_hand() -> None:
    actual, predicted = np.array([1.0, 2.0, 4.0]), np.array([2.0, 2.0, 2.0])
    assert metrics.rmse(actual, predicted) == pytest.approx((5 / 3) ** 0.5)
    assert metrics.mae(actual, predicted) == 1.0
    assert metrics.mape(actual, predicted) == 0.5
    assert metrics.r2(actual, predicted) == pytest.approx(1 - 5 / (14 / 3))


def test_measures_that_are_not_defined_are_nan_and_not_huge() -> None:
    assert np.isnan(metrics.mape(np.array([0.0, 1.0]), np.array([1.0, 1.0])))
    assert np.isnan(metrics.r2(np.ones(3), np.arange(3.0)))
    assert np.isnan(metrics.roc_auc(np.zeros(3, dtype=int), np.full((3, 2), 0.5)))


def test_classification_measures_agree_with_scikit_learn(classes: tuple[np.ndarray, np.ndarray]) -> None:
    codes, shares = classes
    said = shares.argmax(axis=1)
    whole = shares / shares.sum(axis=1, keepdims=True)
    assert metrics.accuracy(codes, shares) == pytest.approx(reference.accuracy_score(codes, said))
    assert metrics.macro_f1(codes, shares) == pytest.approx(reference.f1_score(codes, said, average="macro"))
    assert metrics.log_loss(codes, whole) == pytest.approx(reference.log_loss(codes, whole))
    assert metrics.roc_auc(codes, whole) == pytest.approx(
        reference.roc_auc_score(codes, whole, multi_class="ovr", average="macro")
    )
    np.testing.assert_array_equal(metrics.confusion(codes, shares), reference.confusion_matrix(codes, said))


def test_auc_of_two_classes_is_the_usual_one(classes: tuple[np.ndarray, np.ndarray]) -> None:
    codes, own = classes[0] % 2, classes[1][:, 1]
    shares = np.stack([1 - own, own], axis=1)
    assert metrics.roc_auc(codes, shares) == pytest.approx(reference.roc_auc_score(codes, shares[:, 1]))


def test_classification_measures_by_hand() -> None:
    codes = np.array([0, 0, 1, 1])
    shares = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
    assert metrics.accuracy(codes, shares) == 0.75
    np.testing.assert_array_equal(metrics.confusion(codes, shares), [[1, 1], [0, 2]])
    assert metrics.macro_f1(codes, shares) == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert metrics.log_loss(codes, shares) == pytest.approx(-np.mean(np.log([0.9, 0.4, 0.8, 0.7])))
    assert metrics.roc_auc(codes, shares) == 1.0


def test_a_certain_and_wrong_answer_costs_a_finite_loss() -> None:
    assert metrics.log_loss(np.array([0]), np.array([[0.0, 1.0]])) == pytest.approx(-np.log(2.0**-23))


def test_calibration_by_hand() -> None:
    codes = np.array([0, 0, 0, 0, 1])
    shares = np.array([[0.95, 0.05], [0.95, 0.05], [0.65, 0.35], [0.65, 0.35], [0.65, 0.35]])
    found = metrics.calibrate(codes, shares)
    assert found.count.tolist() == [0] * 6 + [3, 0, 0, 2]
    assert found.accuracy[6] == pytest.approx(2 / 3)
    assert found.confidence[9] == pytest.approx(0.95)
    assert np.isnan(found.accuracy[0])
    assert found.ece == pytest.approx(3 / 5 * abs(2 / 3 - 0.65) + 2 / 5 * 0.05)


def test_bootstrap_interval_of_a_mean_is_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(10, 2, 400)
    low, high = metrics.bootstrap_ci(values, 4_000, seed=1)
    error = values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.12 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.12 * error)
    assert metrics.bootstrap_ci(values, 4_000, seed=1) == (low, high)
    assert metrics.bootstrap_ci(values, 4_000, seed=2) != (low, high)


def test_bootstrap_interval_of_the_rmse_holds_it_and_narrows_with_the_level() -> None:
    squares = np.random.default_rng(0).exponential(4.0, 5_000)
    wide = metrics.bootstrap_ci(squares, 500, seed=1, finish=np.sqrt)
    narrow = metrics.bootstrap_ci(squares, 500, seed=1, level=0.5, finish=np.sqrt)
    assert wide[0] < narrow[0] < np.sqrt(squares.mean()) < narrow[1] < wide[1]


def test_bootstrap_of_equal_losses_is_a_point_and_of_none_an_error() -> None:
    assert metrics.bootstrap_ci(np.full(50, 9.0), 100, seed=0, finish=np.sqrt) == (3.0, 3.0)
    with pytest.raises(ValueError, match="needs draws and rows"):
        metrics.bootstrap_ci(np.empty(0), 100, seed=0)


def test_coverage_by_hand() -> None:
    actual = np.array([1.0, 2.0, 3.0, 4.0])
    assert metrics.cover(actual, actual - 1, np.array([1.0, 1.5, 5.0, 3.0])) == (
        0.5,
        pytest.approx((1 + 0.5 + 3 + 0) / 4),
    )
    members = np.array([[True, False], [True, True]])
    assert metrics.cover_sets(np.array([1, 1]), members) == (0.5, 1.5)


def test_importance_finds_the_column_that_matters_and_leaves_the_columns_alone() -> None:
    generator = np.random.default_rng(0)
    columns = {
        "idle": generator.normal(size=800),
        "strong": generator.normal(size=800),
        "weak": generator.normal(size=800),
    }
    before = {name: values.copy() for name, values in columns.items()}
    actual = 5 * columns["strong"] + columns["weak"]

    def loss(changed: Mapping[str, np.ndarray]) -> float:
        return metrics.rmse(actual, 5 * changed["strong"] + changed["weak"])

    found = metrics.permutation_importance(loss, columns, repeats=5, seed=0)
    assert list(found) == ["strong", "weak", "idle"]
    assert found["idle"] == metrics.Spread(0.0, 0.0)
    assert found["strong"].mean == pytest.approx(5 * np.sqrt(2), rel=0.05)  # variance of a difference of two draws
    assert found == metrics.permutation_importance(loss, columns, repeats=5, seed=0)
    for name, values in before.items():
        np.testing.assert_array_equal(columns[name], values)


@pytest.mark.parametrize("measure", [metrics.rmse, metrics.mae, metrics.r2])
def test_shapes_that_do_not_fit_are_an_error(measure: object) -> None:
    with pytest.raises(ValueError, match="must be"):
        measure(np.ones(3), np.ones((3, 1)))  # type: ignore[operator]
    with pytest.raises(ValueError, match="must be"):
        metrics.accuracy(np.zeros(2, dtype=int), np.ones((3, 2)))
