"""Puts the page together: what is said, and which pictures go where."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from tideline.contracts import TidelineError
from tideline.report import classification, curves, regression, tables
from tideline.report.evidence import Evidence
from tideline.report.numbers import write_number, write_seconds, write_share, write_signed

_METRICS = {"rmse": "RMSE", "log_loss": "log loss"}
LARGEST = 1_500_000  # bytes; a report that is larger is slow to open


def write_report(evidence: Evidence, path: Path) -> Path:
    """Write the page under a temporary name, then rename it; returns `path`."""
    page = render_page(evidence)
    if len(page.encode()) > LARGEST:
        raise TidelineError(f"{path}: the report would be {len(page) / 1e6:.1f} MB; score fewer test rows")
    fresh = path.with_name(f".{path.name}.part")
    fresh.write_text(page, encoding="utf-8")
    fresh.replace(path)
    return path


def render_page(evidence: Evidence) -> str:
    """The whole page as HTML: styles and pictures inside, nothing loaded from anywhere."""
    here = files("tideline.report")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=write_number, share=write_share, signed=write_signed, seconds=write_seconds)
    template = environment.from_string((here / "report.html.j2").read_text(encoding="utf-8"))
    is_regression = evidence.task.problem == "regression"
    return template.render(
        style=Markup((here / "style.css").read_text(encoding="utf-8")),
        e=evidence,
        task=evidence.task,
        m=evidence.metrics,
        manifest=evidence.manifest,
        regression=is_regression,
        unit=evidence.task.target.unit,
        lead=write_lead(evidence),
        waves=curves.draw_waves(evidence),
        ladder=curves.draw_ladder(evidence) if evidence.metrics["baseline"] else "",
        board=tables.list_board(evidence),
        metric_name=_METRICS.get(evidence.contenders[0].metric, evidence.contenders[0].metric),
        importances=tables.list_importances(evidence),
        image=draw_importance_image(evidence),
        slices=tables.list_slices(evidence),
        levels=tables.list_levels(evidence),
        misses=tables.list_misses(evidence),
        learning=[(c, curves.draw_learning(c, c.curve)) for c in evidence.contenders if c.curve],
        facts=tables.list_facts(evidence),
        request=_request(evidence),
        answer=_answer(evidence),
        **(_draw_regression(evidence) if is_regression else _draw_classification(evidence)),
    )


def write_lead(evidence: Evidence) -> str:
    """How much better than the baselines, in a sentence."""
    baseline = evidence.metrics["baseline"]
    test = evidence.metrics["test"]
    names = {"naive": "a constant guess", "linear": "a linear model"}
    if evidence.task.problem == "regression":
        parts = [
            f"{1 - test['rmse'] / scores['rmse']:.0%} below {names[name]} ({write_number(scores['rmse'])})"
            for name, scores in baseline.items()
            if scores["rmse"] > 0
        ]
        return f"Its error is {' and '.join(parts)}." if parts else ""
    parts = [f"{names[name]} {write_share(scores['accuracy'])}" for name, scores in baseline.items()]
    return f"On the same rows {', '.join(parts)}." if parts else ""


def draw_importance_image(evidence: Evidence) -> Markup | None:
    """Importances as a picture, if the columns make one."""
    side = classification.image_side(evidence.task)
    if side is None:
        return None
    means = np.array([max(0.0, evidence.metrics["importance"][name]["mean"]) for name in evidence.task.feature_names])
    return classification.draw_image(np.sqrt(means / (means.max() or 1.0)), side, "Importance of each pixel")


def _draw_regression(evidence: Evidence) -> dict[str, Any]:
    return {
        "agreement": regression.draw_agreement(evidence),
        "residuals": regression.draw_residuals(evidence),
        "maps": regression.draw_maps(evidence) if evidence.task.map else None,
        "time": regression.draw_time(evidence) if evidence.task.split.kind == "time" else None,
        "mistakes": [],
    }


def _draw_classification(evidence: Evidence) -> dict[str, Any]:
    return {
        "agreement": classification.draw_confusion(evidence),
        "residuals": classification.draw_calibration(evidence),
        "maps": None,
        "time": None,
        "mistakes": classification.draw_mistakes(evidence),
    }


def _request(evidence: Evidence) -> str:
    return json.dumps(evidence.request, ensure_ascii=False).replace("'", "'\\''")


def _answer(evidence: Evidence) -> str:
    """JSON, one line a key."""
    lines = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in evidence.answer.items()]
    return "{\n" + ",\n".join(lines) + "\n}"
