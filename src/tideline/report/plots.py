"""The data behind the plots, as CSV files that `dvc plots` reads."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from tideline.report.evidence import Evidence


def write_plots(evidence: Evidence, folder: Path) -> None:
    """predictions.csv (every test row), leaderboard.csv, learning_<model>.csv, and residuals.csv or confusion.csv.

    The folder is replaced as a whole.
    """
    fresh = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    tables = {"predictions": list_predictions(evidence), "leaderboard": list_contenders(evidence)}
    tables |= {"residuals": list_residuals(evidence)} if evidence.task.problem == "regression" else {
        "confusion": list_confusion(evidence)
    }  # fmt: skip
    for contender in evidence.contenders:
        if contender.curve:
            curve = pd.DataFrame({name: pd.Series(values) for name, values in contender.curve.items()})
            tables[f"learning_{contender.name}"] = curve.rename_axis("step").reset_index()
    for name, table in tables.items():
        table.to_csv(fresh / f"{name}.csv", index=False, float_format="%.9g")
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def list_predictions(evidence: Evidence) -> pd.DataFrame:
    """One line a test row: row, actual, predicted, and the intervals or the class probabilities."""
    found = evidence.prediction
    if evidence.task.problem == "regression":
        bands = {
            f"{side}_{band.level:g}": values
            for band in found.intervals
            for side, values in (("lower", band.lower), ("upper", band.upper))
        }
        columns = {"row": range(len(found)), "actual": evidence.actual, "predicted": found.values, **bands}
        return pd.DataFrame(columns)
    names = evidence.task.classes
    shares = {f"p_{name}": found.probabilities[:, i] for i, name in enumerate(names)}
    actual = [names[code] for code in evidence.actual]
    return pd.DataFrame({"row": range(len(found)), "actual": actual, "predicted": found.classes, **shares})


def list_residuals(evidence: Evidence) -> pd.DataFrame:
    """One line a test row: predicted and residual (predicted - actual), with the map's columns if there are any."""
    values = evidence.prediction.values
    place = {name: evidence.frame[name].to_numpy() for name in evidence.task.map or ()}
    return pd.DataFrame({**place, "predicted": values, "residual": values - evidence.actual})


def list_confusion(evidence: Evidence) -> pd.DataFrame:
    """One line a test row: actual and predicted class, the form of DVC's confusion template."""
    names = evidence.task.classes
    return pd.DataFrame({"actual": [names[c] for c in evidence.actual], "predicted": evidence.prediction.classes})


def list_contenders(evidence: Evidence) -> pd.DataFrame:
    """One line a model: cross-validation score, seconds, and whether it passed parity."""
    return pd.DataFrame([
        {"model": c.name, "mean": c.mean, "std": c.std, "metric": c.metric, "seconds": c.seconds,
         "parity": "failed" if c.refused else "passed", "winner": c.name == evidence.winner}
        for c in evidence.contenders
    ])  # fmt: skip
