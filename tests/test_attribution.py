"""Sampled Shapley values against their definition, and their stated errors against the errors they really have."""

from __future__ import annotations

from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tideline.attribution import MIN_SAMPLES, Columns, Predict, attribute_row
from tideline.contracts import TidelineError

NAMES = ("a", "b", "c", "d", "e")
ROW = {name: np.array([value]) for name, value in zip(NAMES, (1.5, -0.5, 2.0, 0.3, 7.0), strict=True)}


def make_background(rows: int, seed: int = 1) -> dict[str, NDArray[Any]]:
    draws = np.random.default_rng(seed).normal(size=(len(NAMES), rows))
    return dict(zip(NAMES, draws, strict=True))


def tangle(x: Columns) -> NDArray[np.float64]:
    """Interactions of two, three and four columns, a step; `e` plays no part."""
    return np.asarray(
        x["a"] * x["b"] + 2 * x["a"] * x["c"] * x["d"] + x["a"] * x["b"] * x["c"] * x["d"] + np.where(x["c"] > 1, 3, 0)
    )


def enumerate_shapley(predict: Predict, row: Columns, background: Columns) -> dict[str, float]:
    """By definition: over all sets of the other columns, weighted."""
    names, d = list(row), len(row)
    rows = len(next(iter(background.values())))

    def worth(inside: tuple[str, ...]) -> float:
        return float(predict({n: np.repeat(row[n], rows) if n in inside else background[n] for n in names}).mean())

    values = dict.fromkeys(names, 0.0)
    for name in names:
        others = [n for n in names if n != name]
        for size in range(d):
            weight = factorial(size) * factorial(d - size - 1) / factorial(d)
            for inside in combinations(others, size):
                values[name] += weight * (worth((*inside, name)) - worth(inside))
    return values


def test_many_samples_come_to_the_definition() -> None:
    background = make_background(40)
    exact = enumerate_shapley(tangle, ROW, background)
    found = attribute_row(tangle, ROW, background, samples=20_000)
    assert found.background_rows == 40
    assert found.base == pytest.approx(tangle(background).mean())
    assert found.base_error == 0
    assert (found.errors[:4] < 0.02).all()
    assert np.abs(found.values - [*exact.values()]).max() < 4 * found.errors.max()


def test_two_columns_and_their_interaction_are_exact() -> None:
    background = make_background(30)  # all are drawn, each of them twice

    def product(x: Columns) -> NDArray[np.float64]:
        return np.asarray(x["a"] * x["b"] + x["c"] ** 2 - x["d"] * x["e"])

    exact = enumerate_shapley(product, ROW, background)
    found = attribute_row(product, ROW, background, samples=60)
    assert found.background_rows == 30
    assert found.values.tolist() == pytest.approx([*exact.values()], abs=1e-12)
    assert found.errors.max() < 1e-12


def test_an_additive_model_gives_each_column_its_own_difference() -> None:
    background = make_background(500)
    weights = dict(zip(NAMES, (3.0, -2.0, 0.5, 0.0, 1.0), strict=True))

    def add(x: Columns) -> NDArray[np.float64]:
        return np.asarray(sum(weight * x[name] for name, weight in weights.items()))

    found = attribute_row(add, ROW, background, samples=600)
    differences = [weights[n] * (ROW[n][0] - background[n].mean()) for n in NAMES]
    assert found.values.tolist() == pytest.approx(differences, abs=1e-12)
    few = attribute_row(add, ROW, background, samples=60)
    assert few.background_rows == 30
    assert np.abs(few.values - differences).max() > 0.05  # another background: the error says so
    assert few.errors[0] == pytest.approx(3.0 * np.sqrt(0.94 / 30), rel=0.3)
    assert few.base_error > 0


@pytest.mark.parametrize("samples", [MIN_SAMPLES, 100, 617])
def test_base_and_attributions_sum_to_the_prediction(samples: int) -> None:
    found = attribute_row(lambda x: 1e6 + 1e5 * tangle(x), ROW, make_background(500), samples)
    assert found.prediction == 1e6 + 1e5 * tangle(ROW)[0]
    assert abs(found.gap) < 1e-9 * found.prediction
    assert found.base + found.values.sum() == pytest.approx(found.prediction, rel=1e-12)


def test_a_column_without_influence_gets_nothing_and_twins_get_the_same() -> None:
    background = make_background(50)
    found = attribute_row(tangle, ROW, background, samples=200)
    assert (found.values[4], found.errors[4]) == (0, 0)

    def twins(x: Columns) -> NDArray[np.float64]:
        return np.asarray(np.maximum(x["a"], 0) * np.maximum(x["b"], 0) * x["c"] + x["e"])

    same = {**ROW, "b": ROW["a"]}
    exact = enumerate_shapley(twins, same, {**background, "b": background["a"]})
    assert exact["a"] == pytest.approx(exact["b"], rel=1e-9)
    found = attribute_row(twins, same, {**background, "b": background["a"]}, samples=5_000)
    assert abs(found.values[0] - found.values[1]) < 4 * (found.errors[0] + found.errors[1])


@pytest.mark.parametrize(("rows", "samples"), [(500, 60), (60, 90), (20, 120), (500, 300)])
def test_stated_errors_hold_the_truth_about_as_often_as_they_should(rows: int, samples: int) -> None:
    """Drawing few of the background's rows, all of them once, and all of them several times."""
    background = make_background(rows)
    exact = np.array([*enumerate_shapley(tangle, ROW, background).values()])[:4]
    runs = [attribute_row(tangle, ROW, background, samples, seed) for seed in range(300)]
    values = np.array([run.values[:4] for run in runs])
    errors = np.array([run.errors[:4] for run in runs])
    inside = (np.abs(values - exact) <= 1.96 * errors).mean(axis=0)
    assert ((inside > 0.85) & (inside < 0.995)).all(), inside
    assert abs(inside.mean() - 0.94) < 0.035
    assert np.sqrt((errors**2).mean(axis=0)) == pytest.approx(values.std(axis=0), rel=0.2)
    assert values.mean(axis=0) == pytest.approx(exact, abs=0.25 * values.std(axis=0).max())  # no bias


def test_errors_shrink_with_the_root_of_the_samples() -> None:
    background = make_background(20)
    errors = [
        np.mean([attribute_row(tangle, ROW, background, n, seed).errors[:4] for seed in range(20)], axis=0)
        for n in (100, 400, 1600)
    ]
    assert errors[0] / errors[1] == pytest.approx(np.full(4, 2.0), rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(np.full(4, 2.0), rel=0.1)


def test_the_same_seed_gives_the_same_and_another_one_another() -> None:
    background = make_background(500)
    first, again, other = (attribute_row(tangle, ROW, background, 50, seed) for seed in (3, 3, 4))
    assert first.values.tolist() == again.values.tolist()
    assert first.errors.tolist() == again.errors.tolist()
    assert first.values.tolist() != other.values.tolist()


def test_text_columns_one_column_and_one_background_row() -> None:
    row = {"sea": np.array(["bay"], dtype=object)}

    def price(x: Columns) -> NDArray[np.float64]:
        return np.array([{"bay": 10.0, "inland": 4.0}[text] for text in x["sea"]])

    found = attribute_row(price, row, {"sea": np.array(["inland", "bay", "inland"], dtype=object)}, 12)
    assert (found.base, found.values.tolist(), found.errors.tolist()) == (6.0, [4.0], [0.0])
    found = attribute_row(price, row, {"sea": np.array(["inland"], dtype=object)}, 12)
    assert (found.base, found.values.tolist(), found.background_rows) == (4.0, [6.0], 1)


def test_large_jobs_are_predicted_in_parts() -> None:
    sizes = []

    def count(x: Columns) -> NDArray[np.float64]:
        sizes.append(len(x["a"]))
        return tangle(x)

    attribute_row(count, ROW, make_background(10), 5_000)
    assert sum(sizes) == 1 + 10 + 5_000 * 8  # the row, the background, the chains' inner points
    assert max(sizes) <= 4_096


def test_what_does_not_fit_is_an_error() -> None:
    with pytest.raises(TidelineError, match="at least 12"):
        attribute_row(tangle, ROW, make_background(5), 11)
    with pytest.raises(TidelineError, match="give the same"):
        attribute_row(tangle, ROW, {"a": np.zeros(3)}, 100)
    with pytest.raises(TidelineError, match="at least one"):
        attribute_row(tangle, ROW, make_background(0), 100)
    with pytest.raises(TidelineError, match="expected one row"):
        attribute_row(tangle, {**ROW, "a": np.zeros(2)}, make_background(5), 100)
