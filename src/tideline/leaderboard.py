"""Reads what cross-validation and the parity gate said of each trained model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tideline.contracts import Task, TidelineError
from tideline.layout import Layout
from tideline.params import Params
from tideline.report import Contender

BLEND = "blend"


def read_contenders(task: Task, params: Params, layout: Layout) -> tuple[Contender, ...]:
    """All models of the run, the best (lowest mean) first, those that failed parity last.

    Raises TidelineError if a listed model was not trained or not exported.
    """
    names = [*params.models, *([BLEND] if (layout.train(BLEND) / "train.json").is_file() else [])]
    found = [read_contender(name, layout) for name in names]
    return tuple(sorted(found, key=lambda c: (bool(c.refused), c.mean)))


def read_contender(name: str, layout: Layout) -> Contender:
    """One model's record."""
    trained = _read(layout.train(name) / "train.json", f"tideline train {layout.task} {name}")
    parity = _read(layout.export(name) / "parity.json", f"tideline export {layout.task} {name}")
    curve = trained.get("curve")
    return Contender(
        name=name,
        family=str(trained["family"]),
        mean=float(trained["mean"]),
        std=float(trained["std"]),
        scores=tuple(map(float, trained["scores"])),
        metric=str(trained["metric"]),
        seconds=float(trained["seconds"]),
        device=str(trained.get("device", "")),
        refused="" if parity["passed"] else explain_refusal(parity),
        accuracy=None if trained.get("accuracy") is None else float(trained["accuracy"]),
        parity=None if parity.get("max_rel") is None else float(parity["max_rel"]),
        curve={k: tuple(map(float, v)) for k, v in curve.items() if v} if curve else None,
        weights=trained.get("weights"),
    )


def explain_refusal(parity: Mapping[str, Any]) -> str:
    """Why a model failed the parity gate, with its worst row."""
    reason = str(parity.get("reason") or f"ONNX differs by {parity['max_rel']:.2g} (relative)")
    worst = next(iter(parity.get("worst") or ()), None)
    if worst:
        reason += f"; row {worst['row']}: framework {_brief(worst['framework'])}, ONNX {_brief(worst['onnx'])}"
    return reason


def _brief(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(f"{v:.3g}" for v in value[:4]) + (", …]" if len(value) > 4 else "]")
    return f"{value:,.6g}" if isinstance(value, int | float) else str(value)


def _read(path: Path, command: str) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise TidelineError(f"no {path}; run `{command}`, or take the model off the list in params.yaml") from None
    return record
