"""Every drift test of the catalogue: quiet about the same distribution, loud about a shifted one."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from tideline import catalog
from tideline.binned import Binned, Measured
from tideline.contracts import Column, DriftSpec
from tideline.monitor.axes import Axis, Counter, make_axis, read_reference
from tideline.sketch import sketch_column

NAMES = catalog.names("drift")
each = pytest.mark.parametrize("name", NAMES)
cases = pytest.mark.parametrize("name, kind", [(n, k) for n in NAMES for k in catalog.get_drift(n).kinds])
ALPHA = 1e-4
LIMITS = {"minimum": 14_000.0, "maximum": 16_000.0}


def draw(kind: str, rows: int, seed: int) -> np.ndarray:
    """Rows of the training's law; a fiftieth is missing."""
    random = np.random.default_rng(seed)
    gone = random.random(rows) < 0.02
    if kind == "category":
        return np.where(gone, "", random.choice(["a", "b", "c", "rare"], rows, p=[0.5, 0.3, 0.199, 0.001])).astype(
            object
        )
    values = {
        "number": lambda: random.lognormal(3.0, 1.0, rows),
        "integer": lambda: random.poisson(3.0, rows).astype(np.float64),
        "date": lambda: np.floor(random.uniform(15_000, 15_100, rows)),
    }[kind]()
    return np.where(gone, np.nan, values)


def shift(spec: DriftSpec, values: np.ndarray, up: bool = True) -> np.ndarray:
    """The same rows after what the test is there for has happened."""
    random = np.random.default_rng(9)
    hit = random.random(len(values)) < 0.3
    text = values.dtype == object
    if spec.name == "missing_share":
        return np.where(hit, "" if text else np.nan, values)
    if spec.name == "unknown_categories":
        return np.where(hit, "never seen", values)
    if spec.name == "range_breaches":
        return np.where(hit, 1e9 if up else -1e9, values)
    if text:
        return np.where((random.random(len(values)) < 0.6) & (values != ""), "c" if up else "a", values)
    return values * 2.0 if up else values / 2.0


def prepare(kind: str, rows: int = 20_000, values: np.ndarray | None = None) -> tuple[Axis, Binned, Column]:
    limits: dict[str, Any] = LIMITS if kind == "date" else {}
    column = Column("x", kind, **limits)  # type: ignore[arg-type]
    sketch = sketch_column(column, draw(kind, rows, 0) if values is None else values)
    axis = make_axis(column.kind, sketch, column)
    return axis, read_reference(axis, sketch), column


def count(axis: Axis, values: np.ndarray, chunk: int = 10_000) -> Binned:
    counter = Counter(axis)
    for start in range(0, len(values), chunk):
        counter.add(values[start : start + chunk])
    return counter.finish()


def is_drift(spec: DriftSpec, found: Measured) -> bool:
    assert np.isfinite([found.statistic, found.effect]).all()
    assert found.p_value is None or 0 <= found.p_value <= 1
    return found.effect >= spec.threshold and (found.p_value is None or found.p_value < ALPHA)


@each
def test_name_is_that_of_the_file_and_the_words_are_there(name: str) -> None:
    spec = catalog.get_drift(name)
    assert spec.kinds and spec.threshold > 0 and spec.description


@cases
def test_same_distribution_is_no_drift(name: str, kind: str) -> None:
    spec, (axis, reference, _) = catalog.get_drift(name), prepare(kind)
    for seed, rows in product(range(1, 21), (200, 500, 5_000)):
        found = spec.compute(reference, count(axis, draw(kind, rows, seed)))
        assert not is_drift(spec, found), (seed, rows, found)


@cases
def test_p_values_are_not_too_small(name: str, kind: str) -> None:
    spec, (axis, reference, _) = catalog.get_drift(name), prepare(kind)
    found = [spec.compute(reference, count(axis, draw(kind, 500, seed))).p_value for seed in range(100, 400)]
    assert all(p is not None for p in found)
    assert np.mean(np.array(found) < 0.05) < 0.09  # 0.05 and three standard errors
    assert np.min(np.array(found)) > 1e-5


@cases
@pytest.mark.parametrize("up", [True, False])
def test_shifted_distribution_is_drift(name: str, kind: str, up: bool) -> None:
    spec, (axis, reference, _) = catalog.get_drift(name), prepare(kind)
    for rows in (500, 50_000):
        found = spec.compute(reference, count(axis, shift(spec, draw(kind, rows, 1), up)))
        assert is_drift(spec, found), found


@cases
def test_shift_the_other_way_round(name: str, kind: str) -> None:
    """The shifted sample is the training, the plain one the window."""
    spec = catalog.get_drift(name)
    axis, reference, _ = prepare(kind, values=shift(spec, draw(kind, 20_000, 0)))
    found = spec.compute(reference, count(axis, draw(kind, 500, 1)))
    assert is_drift(spec, found) == (spec.direction == "both")


@pytest.mark.parametrize("name", ["psi", "jensen_shannon", "ks", "wasserstein"])
def test_distance_is_that_of_the_samples_swapped(name: str) -> None:
    spec, (axis, reference, _) = catalog.get_drift(name), prepare("number")
    window = count(axis, draw("number", 20_000, 1) * 1.5)
    there, back = spec.compute(reference, window), spec.compute(window, reference)
    assert there.statistic == pytest.approx(back.statistic, rel=1e-3)


@cases
def test_nothing_to_compare_is_no_drift(name: str, kind: str) -> None:
    spec, (axis, reference, column) = catalog.get_drift(name), prepare(kind)
    blank = np.full(500, "" if kind == "category" else np.nan, dtype=object if kind == "category" else np.float64)
    assert not is_drift(spec, spec.compute(reference, count(axis, blank[:0])))
    gone = spec.compute(reference, count(axis, blank))
    assert is_drift(spec, gone) == (name == "missing_share")
    # A column that training never had: whatever comes now is of no bin.
    sketch = sketch_column(column, blank)
    bare = make_axis(column.kind, sketch, column)
    found = spec.compute(read_reference(bare, sketch), count(bare, draw(kind, 500, 1)))
    assert is_drift(spec, found) == (name == "unknown_categories" or (name == "range_breaches" and kind != "date"))


@cases
def test_one_category_or_one_value(name: str, kind: str) -> None:
    spec = catalog.get_drift(name)
    one: Any = "a" if kind == "category" else 15_050.0
    same = np.full(500, one, dtype=object if kind == "category" else np.float64)
    axis, reference, _ = prepare(kind, values=np.repeat(same, 10))
    assert not is_drift(spec, spec.compute(reference, count(axis, same)))
    if kind != "category" and name not in ("missing_share", "range_breaches"):
        assert is_drift(spec, spec.compute(reference, count(axis, same * 1.2)))
        assert is_drift(spec, spec.compute(reference, count(axis, same * 0.8)))


@cases
def test_cost_does_not_depend_on_the_size_of_the_reference(name: str, kind: str) -> None:
    """The same counts, a thousand times larger: the arrays a test reads stay as small."""
    spec, (axis, reference, _) = catalog.get_drift(name), prepare(kind)
    assert reference.counts.size == axis.bins <= 23
    assert spec.compute(reference, count(axis, draw(kind, 500, 3))).effect < spec.threshold


@cases
def test_chunks_do_not_matter(name: str, kind: str) -> None:
    spec, (axis, reference, _) = catalog.get_drift(name), prepare(kind)
    values = shift(spec, draw(kind, 3_000, 5))
    whole, parts = (spec.compute(reference, count(axis, values, chunk)) for chunk in (3_000, 7))
    np.testing.assert_allclose([whole.statistic, whole.effect], [parts.statistic, parts.effect], rtol=1e-9)
