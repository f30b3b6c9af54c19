"""Rows of the page's tables and bars, as plain values that the template lays out."""

from __future__ import annotations

from typing import Any

import numpy as np

from tideline.report.evidence import Contender, Evidence
from tideline.report.numbers import write_number, write_share

MOST_COLUMNS, MOST_MISSES = 16, 8
SHORTFALL = 0.03  # of coverage, from which on a level is marked


def list_board(evidence: Evidence) -> list[dict[str, Any]]:
    """The leaderboard; lengths are shares of a scale that ends at the worst serious model (naive may run over it)."""
    serious = [c for c in evidence.contenders if c.family != "naive" and c.name != "naive"] or evidence.contenders
    top = max(max([c.mean + c.std, *c.scores]) for c in serious) * 1.04 or 1.0
    return [
        {
            "rank": "" if contender.refused else str(rank),
            "contender": contender,
            "winner": contender.name == evidence.winner,
            "bar": min(100.0, contender.mean / top * 100),
            "over": contender.mean > top,
            "low": max(0.0, (contender.mean - contender.std) / top * 100),
            "high": min(100.0, (contender.mean + contender.std) / top * 100),
            "folds": [score / top * 100 for score in contender.scores if score <= top],
            "note": _note(contender),
        }
        for rank, contender in enumerate(evidence.contenders, start=1)
    ]


def list_importances(evidence: Evidence) -> list[dict[str, Any]]:
    """The most important columns with what they hold."""
    described = {c.name: c.description for c in evidence.task.columns}
    found = list(evidence.metrics["importance"].items())[:MOST_COLUMNS]
    top = max((v["mean"] + v["std"] for _, v in found), default=1.0) or 1.0
    return [
        {"name": name, "description": described[name], "mean": v["mean"], "std": v["std"],
         "bar": max(0.0, v["mean"]) / top * 100, "spread": v["std"] / top * 100}
        for name, v in found
    ]  # fmt: skip


def list_slices(evidence: Evidence) -> list[dict[str, Any]]:
    """One group a slice; bars are RMSE (or the share of errors) beside that of all rows."""
    regression = evidence.task.problem == "regression"
    whole = evidence.metrics["test"]["rmse"] if regression else 1 - evidence.metrics["test"]["accuracy"]
    groups = []
    values = {
        (name, label): scores["rmse"] if regression else 1 - scores["accuracy"]
        for name, labels in evidence.metrics["slices"].items()
        for label, scores in labels.items()
    }
    top = max([*values.values(), whole]) * 1.02 or 1.0
    for name, labels in evidence.metrics["slices"].items():
        rows = [
            {"label": label, "n": scores["n"], "value": values[name, label], "scores": scores,
             "bar": values[name, label] / top * 100, "worse": values[name, label] > whole * 1.1}
            for label, scores in labels.items()
        ]  # fmt: skip
        groups.append({"name": name, "rows": rows, "whole": whole / top * 100})
    return groups


def list_levels(evidence: Evidence) -> list[dict[str, Any]]:
    """Intervals: what was promised, what came out, and how wide they are."""
    return [
        {
            "level": float(level),
            "coverage": v["coverage"],
            "width": v["mean_width"],
            "short": v["coverage"] < float(level) - SHORTFALL,
        }
        for level, v in evidence.metrics["coverage"].items()
    ]


def list_misses(evidence: Evidence) -> dict[str, Any] | None:
    """The rows that were predicted worst, with their most important columns; none for tasks of pictures."""
    if evidence.task.problem != "regression":
        return None
    values = evidence.prediction.values
    worst = np.argsort(-np.abs(values - evidence.actual), kind="stable")[:MOST_MISSES]
    columns = list(evidence.metrics["importance"])[:6]
    kinds = {c.name: c.kind for c in evidence.task.columns}
    rows = [
        {
            "actual": float(evidence.actual[i]),
            "predicted": float(values[i]),
            "off": float(values[i] - evidence.actual[i]),
            "cells": [_cell(evidence.frame[name].iloc[i], kinds[name]) for name in columns],
        }
        for i in worst.tolist()
    ]
    return {"columns": columns, "rows": rows}


def list_facts(evidence: Evidence) -> list[tuple[str, list[tuple[str, str]]]]:
    """Provenance, split, parity and versions, in groups."""
    manifest, split, validation = evidence.manifest, evidence.split, evidence.validation
    parity = evidence.metrics["parity"]
    source = dict(manifest.provenance)
    return [
        ("Data", [
            ("source", f"{source.get('source', '–')}{' (simulated)' if evidence.simulated else ''}"),
            *_some(source, "origin", "sha256"),
            ("rows", f"{source.get('rows', 0):,}"),
            ("licence", evidence.task.source.licence or "–"),
        ]),
        ("Validation and split", [
            ("rules checked", str(validation.get("rules", "–"))),
            ("warnings", _warnings(validation.get("warnings", []))),
            ("split", f"{split['kind']} by {', '.join(evidence.task.split.by)}"),
            ("rows", f"{split['n_train']:,} for training, {split['n_test']:,} for the test, {split['folds']} folds"),
            ("left out", "; ".join(f"{k}: {v}" for k, v in evidence.task.dropped.items()) or "nothing"),
        ]),
        ("Parity of framework and ONNX", [
            ("largest relative difference", write_number(parity.get("max_rel"), 2)),
            *[(k.replace("_", " "), f"{v:,}") for k, v in parity.items() if k in ("rows", "edge_rows")],
            *[(k, write_number(v, 2)) for k, v in parity.items() if k in ("relative", "floor", "max_abs")],
        ]),
        ("Hashes", [(name, value) for name, value in manifest.hashes.items()]),
        ("Versions", [*manifest.versions.items(), ("trained on", manifest.device), ("created", manifest.created)]),
    ]  # fmt: skip


def _some(record: dict[str, Any], *names: str) -> list[tuple[str, str]]:
    return [(name, str(record[name])) for name in names if record.get(name)]


def _warnings(found: Any) -> str:
    if not found:
        return "none"
    return f"{found:,}" if isinstance(found, int) else f"{len(found):,}"


def _note(contender: Contender) -> str:
    if contender.weights:
        ordered = sorted(contender.weights.items(), key=lambda item: -item[1])
        return " + ".join(f"{write_share(weight, 0)} {name}" for name, weight in ordered if weight > 0.001)
    return contender.family


def _cell(value: Any, kind: str) -> str:
    if isinstance(value, str):
        return value
    if value is None or value != value:
        return "missing"
    if kind == "date":
        return str(np.datetime64(int(value), "D"))
    return f"{value:,.0f}" if kind == "integer" else write_number(float(value), 4)
