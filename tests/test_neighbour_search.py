"""The inverted file finds what looking at every row finds, ties and own groups included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tideline.transforms._neighbour_search import CELL, Reference


def draw_places(rows: int, seed: int, grain: float) -> np.ndarray:
    """Towns of very different density, on a grid so coarse that many rows share a place."""
    draw = np.random.default_rng(seed)
    towns = draw.uniform(-300, 300, (12, 2))
    spread = draw.uniform(0.5, 60, 12)
    town = draw.integers(0, 12, rows)
    return np.asarray(np.round((towns[town] + draw.normal(size=(rows, 2)) * spread[town, None]) / grain) * grain)


def test_few_rows_are_searched_completely() -> None:
    points, queries = draw_places(500, 0, 1.0), draw_places(80, 1, 0.5)
    rows, squares = Reference(points, 20).search(queries)
    everything = ((points[None] - queries[:, None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(squares, np.sort(everything, axis=1)[:, :20], rtol=1e-12)
    np.testing.assert_allclose(np.take_along_axis(everything, rows, axis=1), squares, rtol=1e-12)
    assert all(len(set(found)) == 20 for found in rows.tolist())


def test_many_rows_are_found_in_the_nearest_cells() -> None:
    points = draw_places(6_000, 0, 0.9)
    queries = draw_places(1_000, 0, 0.7)
    _, squares = Reference(points, 100).search(queries)
    wanted = np.sort(((points[None] - queries[:, None]) ** 2).sum(axis=2), axis=1)[:, :100]
    assert np.mean(np.isclose(squares, wanted, rtol=1e-9)) > 0.999


def test_rows_of_the_own_group_are_passed_over() -> None:
    points = draw_places(2_000, 2, 1.0)
    group = np.random.default_rng(0).permutation(2_000) % 20
    rows, squares = Reference(points, 100).search(points, group)
    assert not (group[rows] == group[:, None]).any()
    assert (np.diff(squares, axis=1) >= 0).all()


def test_too_few_rows_outside_the_own_group_is_an_error() -> None:
    points = draw_places(30, 3, 1.0)
    with pytest.raises(ValueError, match="fewer than 25 reference rows"):
        Reference(points, 25).search(points, np.arange(30) % 2)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5 * CELL), st.integers(0, 10_000))
def test_every_row_lies_in_one_cell(rows: int, seed: int) -> None:
    reference = Reference(draw_places(rows, seed, 5.0), 1)
    assert set(reference.rows.ravel().tolist()) == set(range(rows))
    real = np.isfinite(reference.places).all(axis=1) & (np.abs(reference.places) < 1e9).all(axis=1)
    assert real.sum() == rows
