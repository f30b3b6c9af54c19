"""Every model family in the catalogue, for both problems, unasked."""

from __future__ import annotations

import io
from typing import Any

import joblib
import numpy as np
import onnx
import pytest

from tideline import catalog
from tideline.contracts import BuildContext, ModelSpec, Problem, TidelineError
from tideline.families.folds import predict
from tideline.parity import make_threshold_rows, open_session, run_chunks

PROBLEMS: tuple[Problem, ...] = ("regression", "classification")
CASES = [(name, problem) for name in catalog.names("models") for problem in PROBLEMS]
ROWS, FEATURES, CLASSES = 240, 6, 3
BOUNDS = (2.0, 900.0)
# Enough to learn something, little enough to be quick.
SMALL = {"num_iterations": 40, "n_estimators": 10, "max_iter": 20, "epochs": 4}


def make_data(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Positive, skewed targets or three classes that follow from the features."""
    rng = np.random.default_rng(7)
    X = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
    X[:, 3] = np.round(X[:, 3])
    X[:, 5] = 1.0
    if problem == "regression":
        return X, np.exp(4.0 + 0.8 * X[:, 0] - 0.5 * np.abs(X[:, 1]) + 0.1 * rng.normal(size=ROWS)).astype(np.float64)
    return X, np.digitize(X[:, 0] + 0.5 * X[:, 3], [-0.5, 0.5]).astype(np.int64)


def make_context(problem: Problem, **changes: Any) -> BuildContext:
    classes = CLASSES if problem == "classification" else 0
    clip = BOUNDS if problem == "regression" else None
    return BuildContext(problem=problem, n_classes=classes, threads=2, device="cpu", clip=clip, **changes)


def make_settings(spec: ModelSpec, problem: Problem) -> dict[str, Any]:
    defaults = dict(spec.defaults[problem])
    small: dict[str, Any] = {key: value for key, value in SMALL.items() if key in defaults}
    if "members" in defaults and isinstance(defaults["members"], list):
        small["members"] = [{k: v for k, v in m.items() if k != "num_iterations"} for m in defaults["members"]]
    return {**defaults, **small}


def fit(name: str, problem: Problem, **changes: Any) -> tuple[ModelSpec, Any, np.ndarray, np.ndarray]:
    spec = catalog.get_model(name)
    X, y = make_data(problem)
    return spec, spec.build(make_settings(spec, problem), make_context(problem, **changes)).fit(X, y), X, y


@pytest.fixture(scope="module")
def fitted() -> dict[tuple[str, str], Any]:
    """Fits that several tests look at."""
    return {}


def get_fitted(fitted: dict[tuple[str, str], Any], name: str, problem: Problem) -> Any:
    if (name, problem) not in fitted:
        fitted[name, problem] = fit(name, problem)
    return fitted[name, problem]


@pytest.mark.parametrize(("name", "problem"), CASES)
def test_two_fits_give_the_same_bytes(fitted: dict[Any, Any], name: str, problem: Problem) -> None:
    _, first, X, _ = get_fitted(fitted, name, problem)
    _, second, _, _ = fit(name, problem)
    assert predict(first, X, problem).tobytes() == predict(second, X, problem).tobytes()


@pytest.mark.parametrize(("name", "problem"), CASES)
def test_it_learns_and_keeps_its_bounds(fitted: dict[Any, Any], name: str, problem: Problem) -> None:
    _, model, X, y = get_fitted(fitted, name, problem)
    out = predict(model, X, problem)
    assert np.isfinite(out).all()
    if problem == "classification":
        assert out.shape == (ROWS, CLASSES)
        np.testing.assert_allclose(out.sum(axis=1), 1.0, atol=1e-6)
        assert np.array_equal(model.predict(X), out.argmax(axis=1))
        floor = np.bincount(y).max() / ROWS
        assert name == "naive" or (out.argmax(axis=1) == y).mean() > floor + 0.1
    else:
        assert out.shape == (ROWS,)
        assert out.min() >= BOUNDS[0]
        assert out.max() <= BOUNDS[1]
        assert name == "naive" or np.sqrt(np.mean((out - y) ** 2)) < 0.9 * y.std()


@pytest.mark.parametrize(("name", "problem"), CASES)
def test_onnx_answers_alike(fitted: dict[Any, Any], name: str, problem: Problem) -> None:
    spec, model, X, _ = get_fitted(fitted, name, problem)
    net = spec.to_onnx(model, FEATURES, make_context(problem))
    onnx.checker.check_model(net, full_check=True)
    assert net.ir_version == 10
    assert {(o.domain, o.version) for o in net.opset_import} == {("", 21), ("ai.onnx.ml", 3)}
    far = np.concatenate([X[:5] * 1e4, X[:5] * -1e4, np.zeros((1, FEATURES), np.float32)]).astype(np.float32)
    _, near = make_threshold_rows(net, X, seed=1)
    rows = np.concatenate([X, far, near])
    found = run_chunks(open_session(net, "cpu", 1), {"X": rows}, problem)
    expected = predict(model, rows, problem)
    assert found.shape == expected.shape
    if problem == "regression":
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    else:
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert np.array_equal(found.argmax(axis=1), expected.argmax(axis=1))


@pytest.mark.parametrize(("name", "problem"), CASES)
def test_missing_values_reach_the_graph_alike(name: str, problem: Problem) -> None:
    spec = catalog.get_model(name)
    X, y = make_data(problem)
    X[::5, 1] = np.nan
    model = spec.build(make_settings(spec, problem), make_context(problem)).fit(X, y)
    rows = X.copy()
    rows[1::7, 0] = np.nan  # a column that was whole when it was learnt
    net = spec.to_onnx(model, FEATURES, make_context(problem))
    found = run_chunks(open_session(net, "cpu", 1), {"X": rows}, problem)
    np.testing.assert_allclose(found, predict(model, rows, problem), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "problem"), CASES)
def test_it_pickles_to_the_same_answers(name: str, problem: Problem) -> None:
    _, model, X, _ = fit(name, problem, epoch_callback=lambda epoch, loss: None)
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    again = joblib.load(file)
    assert predict(again, X, problem).tobytes() == predict(model, X, problem).tobytes()


@pytest.mark.parametrize("name", catalog.names("models"))
def test_a_class_that_is_not_there_has_no_probability(name: str) -> None:
    spec = catalog.get_model(name)
    X, y = make_data("classification")
    keep = y != 1
    context = make_context("classification")
    model = spec.build(make_settings(spec, "classification"), context).fit(X[keep], y[keep])
    out = model.predict_proba(X)
    assert (out[:, 1] == 0).all()
    found = run_chunks(open_session(spec.to_onnx(model, FEATURES, context), "cpu", 1), {"X": X}, "classification")
    np.testing.assert_allclose(found, out, atol=1e-5)


@pytest.mark.parametrize(("name", "problem"), CASES)
def test_the_search_space_is_valid(name: str, problem: Problem) -> None:
    spec = catalog.get_model(name)
    defaults = spec.defaults[problem]
    for parameter, rule in spec.space[problem].items():
        assert parameter in defaults, f"{parameter} has no default"
        if "choices" in rule:
            assert defaults[parameter] in rule["choices"]
            continue
        assert set(rule) <= {"low", "high", "log", "step"}
        assert rule["low"] < rule["high"]
        assert not rule.get("log") or rule["low"] > 0
        if isinstance(defaults[parameter], int | float):
            assert rule["low"] <= defaults[parameter] <= rule["high"]


@pytest.mark.parametrize("name", ["torch_mlp", "keras_mlp"])
def test_cuda_that_is_not_there_is_an_error(name: str) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    spec = catalog.get_model(name)
    X, y = make_data("regression")
    context = BuildContext(problem="regression", device="cuda")
    with pytest.raises(TidelineError, match="cuda is asked for"):
        spec.build(make_settings(spec, "regression"), context).fit(X, y)


def test_matrices_must_be_float32() -> None:
    spec = catalog.get_model("linear")
    X, y = make_data("regression")
    with pytest.raises(TidelineError, match="float32"):
        spec.build(spec.defaults["regression"], make_context("regression")).fit(X.astype(np.float64), y)


def test_listing_the_catalogue_loads_no_framework() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from tideline import catalog; [catalog.get_model(n) for n in catalog.names('models')];"
        "print(sorted({'torch', 'tensorflow', 'keras', 'sklearn', 'lightgbm', 'onnx', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
