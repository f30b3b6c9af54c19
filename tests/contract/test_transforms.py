"""Every transform of the catalogue behaves like scikit-learn's, and its ONNX nodes compute the same float64 numbers."""

from __future__ import annotations

import importlib
import pickle
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from tideline import catalog
from tideline.contracts import TidelineError

# Parameters of a transform that cannot do without: EXAMPLE_PARAMS in its file, or here.
PARAMS: dict[str, dict[str, Any]] = {
    "neighbours": {
        "coordinates": {"longitude": 88.9, "latitude": 111.2},
        "per": "income",
        "similar": {"income": 0.25, "age": 12.0},
        "logged": ["income"],
        "ks": [3, 10, 50],
        "make_up": [5, 50],
    }
}
REFUSES_MISSING = {"neighbours"}  # says so, and names impute_median
NAMES = catalog.names("transforms")
each = pytest.mark.parametrize("name", NAMES)


def make(name: str) -> tuple[Any, pd.DataFrame, np.ndarray]:
    """The unfitted transformer and rows to fit it on."""
    spec = catalog.get_transform(name)
    assert spec.example is not None, f"transform {name} has no example"
    frame, y = spec.example()
    module = importlib.import_module(f"tideline.transforms.{name}")
    params = getattr(module, "EXAMPLE_PARAMS", PARAMS.get(name, {}))
    return spec.build(params), frame, np.asarray(y)


def is_text(frame: pd.DataFrame) -> bool:
    return frame.dtypes.iloc[0] == "str"


def hostile_rows(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Unseen rows: other mixtures, the limits and values beyond them, zeros, and (where taken) missing cells."""
    random = np.random.default_rng(1)
    mixed = frame.apply(lambda column: column.sample(100, random_state=int(random.integers(9))).to_numpy())
    if is_text(frame):
        strange = pd.DataFrame({c: ["", "UNKNOWN", "inland", None] for c in frame}, dtype="str")
        return pd.concat([mixed, strange], ignore_index=True).astype("str")
    low, high = frame.min(), frame.max()
    edges = pd.DataFrame([low, high, low - (high - low), high + 10 * (high - low), frame.median(), 0 * low])
    rows = pd.concat([mixed, edges], ignore_index=True)
    if name not in REFUSES_MISSING:
        holes = rows.mask(random.random(rows.shape) < 0.3)
        rows = pd.concat([rows, holes, rows.iloc[:1] * np.nan], ignore_index=True)
    return rows


def convert(transformer: Any, name: str, frame: pd.DataFrame) -> onnx.ModelProto:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import DoubleTensorType, StringTensorType

    catalog.get_transform(name).register()
    kind = StringTensorType if is_text(frame) else DoubleTensorType
    inputs = [("x", kind([None, frame.shape[1]]))]
    return convert_sklearn(transformer, name, initial_types=inputs, target_opset={"": 21, "ai.onnx.ml": 3})


def run(session: onnxruntime.InferenceSession, rows: pd.DataFrame) -> np.ndarray:
    cells = rows.fillna("").to_numpy(object) if is_text(rows) else rows.to_numpy(np.float64)
    return session.run(None, {"x": cells})[0]


@each
def test_catalogue_entry_is_complete_and_refuses_unknown_parameters(name: str) -> None:
    spec = catalog.get_transform(name)
    assert spec.description
    with pytest.raises(TidelineError, match=r"parameter 'nonsense' is unknown"):
        spec.build({"nonsense": 1})


@each
def test_clone_keeps_parameters_and_nothing_learnt(name: str) -> None:
    transformer, frame, y = make(name)
    before = repr(transformer.get_params())
    copy = clone(transformer.fit(frame, y))
    assert repr(copy.get_params()) == before == repr(transformer.get_params())
    with pytest.raises(NotFittedError):
        copy.transform(frame)


@each
def test_names_match_features_and_are_unique(name: str) -> None:
    transformer, frame, y = make(name)
    found = transformer.fit(frame, y).transform(frame)
    names = list(transformer.get_feature_names_out())
    assert found.dtype == np.float64
    assert found.shape == (len(frame), len(names))
    assert len(set(names)) == len(names)


@each
def test_input_is_not_changed(name: str) -> None:
    transformer, frame, y = make(name)
    kept, target = frame.copy(deep=True), y.copy()
    transformer.fit_transform(frame, y)
    transformer.transform(frame)
    pd.testing.assert_frame_equal(frame, kept)
    np.testing.assert_array_equal(y, target)


@each
def test_wrong_columns_are_refused(name: str) -> None:
    transformer, frame, y = make(name)
    transformer.fit(frame, y)
    with pytest.raises(ValueError, match="feature names"):
        transformer.transform(frame.assign(more=frame.iloc[:, 0]))
    with pytest.raises(ValueError, match="feature names"):
        transformer.transform(frame.rename(columns={frame.columns[0]: "another"}))


@each
def test_empty_rows_cannot_be_fitted(name: str) -> None:
    transformer, frame, y = make(name)
    with pytest.raises((ValueError, TidelineError)):
        transformer.fit(frame.iloc[:0], y[:0])


@each
def test_two_fits_and_a_pickle_agree_to_the_bit(name: str) -> None:
    transformer, frame, y = make(name)
    first = transformer.fit_transform(frame, y)
    again = clone(transformer)
    np.testing.assert_array_equal(again.fit_transform(frame, y), first)
    copy = pickle.loads(pickle.dumps(transformer))
    np.testing.assert_array_equal(copy.transform(frame), again.transform(frame))


@each
def test_missing_values_are_taken_or_refused_with_a_reason(name: str) -> None:
    transformer, frame, y = make(name)
    holes = frame.copy()
    holes.iloc[::7, 0] = None if is_text(frame) else np.nan
    if name in REFUSES_MISSING:
        with pytest.raises(TidelineError, match="impute_median"):
            transformer.fit(holes, y)
    else:
        assert len(transformer.fit(holes, y).transform(holes)) == len(holes)


@each
def test_onnx_computes_the_same_float64_numbers(name: str) -> None:
    transformer, frame, y = make(name)
    transformer.fit(frame, y)
    session = onnxruntime.InferenceSession(
        convert(transformer, name, frame).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    assert session.get_outputs()[0].type == "tensor(double)"
    rows = pd.concat([frame, hostile_rows(name, frame)], ignore_index=True)
    expected, found = transformer.transform(rows), run(session, rows)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    spread = np.nanstd(expected[: len(frame)], axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * float(np.nanmax(spread, initial=1.0)))
    for i in (0, len(frame), len(rows) - 1):  # a row by itself is the row in a batch
        np.testing.assert_allclose(run(session, rows.iloc[[i]]), found[[i]], rtol=1e-9, atol=1e-9)


@each
def test_conversion_gives_the_same_bytes(name: str) -> None:
    transformer, frame, y = make(name)
    transformer.fit(frame, y)
    first, second = (convert(transformer, name, frame).graph.SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", [n for n in NAMES if catalog.get_transform(n).uses_target])
def test_no_row_sees_its_own_target(name: str) -> None:
    transformer, frame, y = make(name)
    known = clone(transformer).fit_transform(frame, y)
    rows = np.random.default_rng(3).choice(len(frame), 8, replace=False)
    for row in rows:
        changed = y.copy()
        changed[row] *= 2
        found = clone(transformer).fit_transform(frame, changed)
        np.testing.assert_allclose(found[row], known[row], rtol=2e-2)  # the overall level may move a little
        others = np.delete(np.arange(len(frame)), row)
        assert np.abs(found[others] - known[others]).max() > 1e-3


@pytest.mark.parametrize("name", [n for n in NAMES if catalog.get_transform(n).uses_target])
def test_target_is_needed(name: str) -> None:
    transformer, frame, _ = make(name)
    with pytest.raises(TidelineError, match="target"):
        transformer.fit(frame)
