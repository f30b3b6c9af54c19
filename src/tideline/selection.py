"""Chooses the winner by cross-validation alone, and drafts its bundle."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tideline.bundle import MODEL, hash_file, to_json, write_bundle, write_durably
from tideline.conformal import fit_intervals, fit_sets
from tideline.contracts import Interval, Manifest, Task, TidelineError
from tideline.error_model import fit_error_model
from tideline.layout import Layout
from tideline.params import Params
from tideline.predictor import columns_from_frame
from tideline.progress import stage
from tideline.sketch import build_sketch, sketch_numbers

NAIVE, BLEND = "naive", "blend"
PACKAGES = (
    "tideline", "numpy", "scikit-learn", "lightgbm", "torch", "tensorflow", "tensorflow-cpu", "onnx", "skl2onnx",
    "onnxruntime", "onnxruntime-gpu",
)  # fmt: skip


def select(task: Task, params: Params, layout: Layout) -> None:
    """Write selection.json (leaderboard, refusals, winner, intervals) and the candidate bundle.

    The winner has the lowest mean CV error among the models that passed parity. Raises TidelineError if none did, or if
    a stage's record is absent.
    """
    with stage("select", task.name) as log:
        names = [*params.models, *([BLEND] if (layout.train(BLEND) / "train.json").exists() else [])]
        board = rank_models([_read_contender(layout, name) for name in names])
        passed = [row for row in board if row["refused"] is None]
        for row in board:
            if row["refused"]:
                log.say(f"{row['model']} is out: {row['refused']}")
        if not passed:
            listed = "; ".join(f"{row['model']}: {row['refused']}" for row in board)
            raise TidelineError(
                f"{task.name}: no model may be selected ({listed}); see {layout.export('MODEL')}/parity.json"
            )
        winner = passed[0]
        remarks = _remark(passed)
        for remark in remarks:
            log.say(remark)
        spread = "" if winner["std"] is None else f" ± {winner['std']:,.4g}"
        score = f"{winner['metric']} {winner['mean']:,.6g}{spread}"
        log.say(f"winner: {winner['model']}, {score} in cross-validation")

        actual, predicted, rows = read_validated(layout, winner["model"])
        intervals = fit_conformal(task, params, actual, predicted)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = draft_manifest(task, layout, winner, intervals, board, created)
        bundle = write_bundle(
            layout.candidate,
            layout.export(winner["model"]) / MODEL,
            manifest,
            sketch_training(task, layout, actual, predicted, rows, params.seed),
        )
        record = {
            "task": task.name,
            "winner": winner["model"],
            "metric": winner["metric"],
            "created": created,
            "candidate": bundle.digest,
            "leaderboard": board,
            "remarks": remarks,
            "intervals": [asdict(i) for i in intervals],
            "validated_rows": len(actual),
        }
        layout.selection.mkdir(parents=True, exist_ok=True)
        _write(layout.selection / "selection.json", to_json(record, f"{layout.selection}/selection.json"))
        log.say(f"candidate in {layout.candidate}, leaderboard in {layout.selection / 'selection.json'}")


def rank_models(contenders: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that may win by mean error, the best first (ties: in the order given), then the refused ones."""
    return sorted(
        contenders, key=lambda row: (row["refused"] is not None, math.inf if row["mean"] is None else row["mean"])
    )


def read_validated(layout: Layout, model: str) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.bool_]]:
    """Targets (m,) and out-of-fold predictions (m,) or (m, n_classes) of the rows that were ever validated, and which
    (n,) of the training rows these are."""
    predicted = np.load(layout.train(model) / "oof.npy")
    with np.load(layout.features / "matrices.npz") as matrices:
        actual = matrices["y"]
    if len(actual) != len(predicted):
        raise TidelineError(
            f"{layout.train(model)}/oof.npy has {len(predicted)} rows, the features {len(actual)}; run `dvc repro`"
        )
    valid = np.isfinite(predicted.reshape(len(predicted), -1)).all(axis=1)
    return actual[valid], predicted[valid], valid


def fit_conformal(
    task: Task, params: Params, actual: NDArray[Any], predicted: NDArray[np.float64]
) -> tuple[Interval, ...]:
    """Conformal half-widths (or set thresholds) for the levels in params, from out-of-fold predictions."""
    if task.problem == "classification":
        return fit_sets(predicted, actual.astype(np.int64), params.evaluation.levels)
    held = predicted if task.clip is None else np.clip(predicted, *task.clip)  # as the graph answers
    return fit_intervals(held, actual.astype(np.float64), params.evaluation.levels)


def draft_manifest(
    task: Task,
    layout: Layout,
    winner: Mapping[str, Any],
    intervals: tuple[Interval, ...],
    board: list[dict[str, Any]],
    created: str,
) -> Manifest:
    """The winner's contract; its figures on the holdout are added by the evaluate and bundle stages."""
    raw = _read(layout.raw / "manifest.json")
    parity = _read(layout.export(winner["model"]) / "parity.json")
    return Manifest(
        task=task.name,
        title=task.title,
        problem=task.problem,
        model=winner["model"],
        created=created,
        columns=task.columns,
        target=task.target,
        classes=task.classes,
        clip=task.clip,
        provenance={key: raw[key] for key in ("source", "simulated", "rows", "sha256")} | _name_labelled(layout),
        hashes={
            "data": raw["sha256"],
            "split": _read(layout.split / "split.json")["hash"],
            "features": _read(layout.features / "features.json")["hash"],
            "code": hash_code(Path(__file__).parent),
            "params": hash_file(layout.root / "params.yaml"),
        },
        versions=list_versions(),
        intervals=intervals,
        parity={key: value for key, value in parity.items() if key != "worst"},
        metrics={"cv": {row["model"]: {"mean": row["mean"], "std": row["std"]} for row in board}},
        device=winner["device"],
    )


def _name_labelled(layout: Layout) -> dict[str, Any]:
    # Rows of the prediction log that took part, if there are any.
    split = _read(layout.split / "split.json")
    return {"labelled": split["labelled"]} if "labelled" in split else {}


def sketch_training(
    task: Task,
    layout: Layout,
    actual: NDArray[Any],
    predicted: NDArray[np.float64],
    rows: NDArray[np.bool_],
    seed: int,
) -> dict[str, Any]:
    """The reference sketch of the training rows and the out-of-fold predictions, with the absolute errors of the latter
    (`error`) and the model that estimates them (`error_model`). Arguments: see `read_validated`."""
    import pandas as pd

    frame = pd.read_parquet(layout.split / "train.parquet")
    with np.load(layout.features / "matrices.npz") as matrices:
        target = matrices["y"]
    columns = columns_from_frame(task, frame)
    if task.problem == "classification":
        told, errors = predicted.max(axis=1), (predicted.argmax(axis=1) != actual).astype(np.float64)
    else:
        told = predicted if task.clip is None else np.clip(predicted, *task.clip)  # as the graph answers
        errors = np.abs(told - actual)
    model = fit_error_model(task, {name: values[rows] for name, values in columns.items()}, told, errors, seed)
    sketch = build_sketch(task, columns, target, predicted, seed)
    return {**sketch, "error": sketch_numbers(errors), "error_model": asdict(model)}


def hash_code(folder: Path) -> str:
    """sha256 over the paths and contents of all Python files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py"), key=lambda p: p.relative_to(folder).as_posix()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{hash_file(path)}\n".encode())
    return digest.hexdigest()


def list_versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that shape a model; imports none of them."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _read_contender(layout: Layout, name: str) -> dict[str, Any]:
    trained, parity = _read(layout.train(name) / "train.json"), _read(layout.export(name) / "parity.json")
    mean = _finite(trained["mean"])
    refused = None
    if not parity["passed"]:
        worst = "; ".join(
            f"{w['row']}: {_short(w['framework'])} against {_short(w['onnx'])}" for w in parity["worst"][:3]
        )
        largest = "not finite" if parity["max_rel"] is None else format(parity["max_rel"], ".3g")
        refused = f"parity failed, relative difference {largest} (worst: {worst})"
    elif mean is None:
        refused = f"its cross-validation error is {trained['mean']}"
    return {
        "model": name,
        "family": trained["family"],
        "metric": trained["metric"],
        "mean": mean,
        "std": _finite(trained["std"]),
        "scores": [_finite(score) for score in trained["scores"]],
        "device": trained["device"],
        "seconds": trained["seconds"],
        "parity": {"passed": parity["passed"], "max_rel": parity["max_rel"]},
        "refused": refused,
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def _remark(passed: list[dict[str, Any]]) -> list[str]:
    if passed[0]["model"] != NAIVE:
        return []
    if len(passed) == 1:
        return ["naive wins because no other model may be selected; the gate will refuse it"]
    return [f"naive has the lowest error of {len(passed)} models: the others learnt nothing from these columns"]


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())  # type: ignore[no-any-return]
    except FileNotFoundError:
        raise TidelineError(f"no {path}; run the stage that writes it (`dvc repro` runs them all)") from None


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    write_durably(temporary, content)
    temporary.replace(path)


def _short(value: Any) -> str:
    return format(value, ".6g") if isinstance(value, int | float) else str(value)
