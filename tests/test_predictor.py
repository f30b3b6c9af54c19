"""The predictor: columns in, predictions and intervals out, and nothing that is silently guessed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pandas as pd
import pytest

from tests.small_task import COLUMNS, PETS, RENT, make_frame, make_graph, ship, write_project
from tideline.bundle import Bundle
from tideline.contracts import TidelineError
from tideline.predictor import Predictor, columns_from_frame


@pytest.fixture(scope="module")
def rent(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return ship(write_project(tmp_path_factory.mktemp("rent"), RENT), RENT)


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return ship(write_project(tmp_path_factory.mktemp("pets"), PETS), PETS)


def one_row(size: float = 10.0, kind: str = "b") -> dict[str, np.ndarray]:
    text = np.array([kind], dtype=object)
    return {"size": np.array([size]), "floor": np.array([1.0]), "kind": text, "day": np.array([1.0])}


def test_predicts_the_law_by_hand(rent: Bundle) -> None:
    predictor = Predictor(rent.path)
    assert predictor.predict(one_row()).values.tolist() == [170.0]
    assert predictor.predict(one_row(np.nan, "a")).values.tolist() == [250.0]
    assert predictor.predict(one_row(kind="")).values.tolist() == [150.0]
    assert predictor.predict(one_row(kind="unknown")).values.tolist() == [150.0]
    assert predictor.predict(one_row(1e6)).values.tolist() == [1_000.0]


def test_chunks_do_not_change_the_answer(rent: Bundle) -> None:
    columns = columns_from_frame(RENT, make_frame(1000, seed=3))
    whole = Predictor(rent, chunk=10_000).predict(columns)
    for chunk in (1, 7, 256, 999):
        parts = Predictor(rent, chunk=chunk).predict(columns)
        np.testing.assert_array_equal(parts.values, whole.values)
        np.testing.assert_array_equal(parts.intervals[0].upper, whole.intervals[0].upper)
    assert len(whole) == 1000 and whole.values.dtype == np.float64


def test_no_rows_give_no_answers(rent: Bundle, pets: Bundle) -> None:
    none = {name: values[:0] for name, values in one_row().items()}
    empty = Predictor(rent).predict(none)
    assert len(empty) == 0 and len(empty.intervals[0].lower) == 0
    assert Predictor(pets).predict(none).probabilities.shape == (0, 3)


def test_intervals_cover_unseen_rows_nest_and_stay_inside_the_clip(rent: Bundle) -> None:
    frame = make_frame(4000, seed=9)
    prediction = Predictor(rent).predict(columns_from_frame(RENT, frame))
    actual = frame["price"].to_numpy()
    narrow, wide = prediction.intervals
    assert [narrow.level, wide.level] == [0.8, 0.95]
    for band in prediction.intervals:
        covered = np.mean((band.lower <= actual) & (actual <= band.upper))
        assert abs(covered - band.level) < 0.04
    assert (wide.lower <= narrow.lower).all() and (wide.upper >= narrow.upper).all()
    edge = Predictor(rent).predict(one_row(1e6)).intervals[1]
    assert edge.upper[0] == 1_000.0 and edge.lower[0] < 1_000.0


def test_classes_probabilities_and_sets(pets: Bundle) -> None:
    frame = make_frame(3000, seed=9)
    prediction = Predictor(pets).predict(columns_from_frame(PETS, frame))
    codes = np.array([PETS.classes.index(p) for p in frame["pet"]])
    assert prediction.classes[:3] == [PETS.classes[c] for c in prediction.probabilities[:3].argmax(axis=1)]
    np.testing.assert_allclose(prediction.probabilities.sum(axis=1), 1, atol=1e-6)
    assert prediction.intervals == ()
    for found in prediction.sets:
        assert found.members[np.arange(3000), codes].mean() >= found.level - 0.03
        assert found.members.any(axis=1).all()
    assert (prediction.sets[0].members <= prediction.sets[1].members).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": None}, r"lacking \['size'\]"),
        ({"colour": np.zeros(1)}, r"unknown \['colour'\]"),
        ({"size": np.zeros(2)}, "'floor' has 1 rows, the ones before it have 2"),
        ({"kind": np.array([None], dtype=object)}, "'kind', row 0: expected a string .* found None"),
        ({"kind": np.array([np.nan], dtype=object)}, "'kind', row 0"),
        ({"size": np.array([np.inf]), "floor": np.array([-np.inf])}, "out of range"),
    ],
)
def test_wrong_columns_are_refused_by_name(rent: Bundle, change: dict[str, np.ndarray | None], words: str) -> None:
    columns = {k: v for k, v in {**one_row(), **change}.items() if v is not None}
    with pytest.raises(TidelineError, match=words):
        Predictor(rent).predict(columns)


def test_graph_that_does_not_take_the_contracts_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(make_graph(RENT))
    fewer = replace(RENT, columns=COLUMNS[:-1])
    with pytest.raises(TidelineError, match="day differ"):
        Predictor.from_graph(path, fewer)
    with pytest.raises(TidelineError, match="no output 'probabilities'"):
        Predictor.from_graph(path, PETS)
    path.write_bytes(b"no graph")
    with pytest.raises(TidelineError, match="does not load"):
        Predictor.from_graph(path, RENT)
    with pytest.raises(TidelineError, match="no graph at"):
        Predictor.from_graph(tmp_path / "absent.onnx", RENT)


def test_provider_that_was_not_given_is_an_error(rent: Bundle) -> None:
    probe = ort.InferenceSession(rent.read("model.onnx"), providers=["CPUExecutionProvider"])
    assert probe.get_providers() == ["CPUExecutionProvider"]
    try:
        given = Predictor(rent, provider="cuda").session.get_providers()
    except TidelineError as error:
        assert "asked for CUDAExecutionProvider" in str(error) and "cpu" in str(error)
    else:
        assert given[0] == "CUDAExecutionProvider"
    with pytest.raises(TidelineError, match="unknown provider"):
        Predictor(rent, provider="tpu")  # type: ignore[arg-type]


def test_columns_from_frame_take_every_way_to_write_a_date_or_a_gap() -> None:
    frame = pd.DataFrame({"size": [1, 2, 3], "floor": pd.array([1, None, 3], dtype="Int64"), "extra": 0})
    frame["kind"] = pd.array(["a", None, "b"], dtype="str")
    dates = ["1970-01-02", None, "2000-01-01"]
    days = [1.0, np.nan, 10957.0]
    for day in (dates, pd.to_datetime(pd.Series(dates)), days, pd.Series(dates, dtype=object)):
        columns = columns_from_frame(RENT, frame.assign(day=day))
        assert list(columns) == ["size", "floor", "kind", "day"]
        np.testing.assert_array_equal(columns["day"], days)
        np.testing.assert_array_equal(columns["floor"], [1, np.nan, 3])
        assert columns["kind"].tolist() == ["a", "", "b"] and columns["kind"].dtype == object
    with pytest.raises(TidelineError, match=r"lacks columns \['day'\]"):
        columns_from_frame(RENT, frame)
    with pytest.raises(TidelineError, match="'day' should hold a date"):
        columns_from_frame(RENT, frame.assign(day=["1970-01-02", "yesterday", None]))
    with pytest.raises(TidelineError, match="'size' should hold a number"):
        columns_from_frame(RENT, frame.assign(day=dates, size=["1", "2", "three"]))


def test_inference_and_registry_load_no_training_library() -> None:
    heavy = ["pandas", "sklearn", "torch", "tensorflow", "lightgbm", "skl2onnx", "onnx", "great_expectations", "optuna"]
    code = (
        "import sys, tideline.predictor, tideline.registry, tideline.bundle, tideline.sketch, tideline.champion\n"
        f"print(*(set(sys.modules) & set({heavy!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
