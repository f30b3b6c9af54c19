"""Holds the raw snapshot against the rules that the task's columns state; a breach stops the graph."""

from __future__ import annotations

import json

import pandas as pd

from tideline.contracts import Task, TidelineError
from tideline.data import hash_file
from tideline.expectations import Breach, derive_checks, run_checks
from tideline.layout import Layout
from tideline.params import Params
from tideline.progress import stage


def validate(task: Task, params: Params, layout: Layout) -> None:
    """Write validation.json, the evidence that later stages ask for, and the pages of reports/<task>/data_docs.

    Breaches of severity "warning" are reported and recorded. Any other raises TidelineError with column,
    rule, count, share and examples; then there is no validation.json, and nothing downstream changes.
    """
    with stage("validate", task.name) as log:
        evidence, data = layout.validation / "validation.json", layout.raw / "data.parquet"
        if not data.is_file():
            raise TidelineError(f"no {data}: run `tideline fetch {task.name}` first")
        evidence.unlink(missing_ok=True)
        frame = pd.read_parquet(data)
        checks = derive_checks(task, frame)
        breaches = run_checks(task.name, frame, checks, layout.data_docs)
        log.say(f"{len(checks)} rules on {len(frame):,} rows; pages in {layout.data_docs}")
        warnings = [breach for breach in breaches if breach.check.severity == "warning"]
        errors = [breach for breach in breaches if breach.check.severity == "error"]
        for breach in warnings:
            log.say(f"warning: {breach}")
        if errors:
            raise TidelineError(_explain(task, errors, str(layout.data_docs)))
        record = {
            "passed": True,
            "rules": len(checks),
            "warnings": [breach.to_dict() for breach in warnings],
            "data_sha256": hash_file(data),
        }
        evidence.parent.mkdir(parents=True, exist_ok=True)
        fresh = evidence.with_name(".validation.json.part")
        fresh.write_text(json.dumps(record, indent=2) + "\n")
        fresh.replace(evidence)
        log.say(f"passed, {len(warnings)} warnings; written to {evidence}")


def _explain(task: Task, errors: list[Breach], docs: str) -> str:
    lines = "".join(f"  - {breach}\n" for breach in errors)
    return (
        f"the raw data of {task.name} breaks {len(errors)} rules:\n{lines}"
        f"Repair the data and fetch again, or change the column in tasks/{task.name}.py (its range, or its "
        f'severity to "warning") if the rule is wrong. Pages: {docs}'
    )
