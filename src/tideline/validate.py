"""Holds the raw snapshot against the rules that the task's columns state; a breach stops the graph."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tideline.contracts import Task, TidelineError
from tideline.data import hash_file, read_manifest
from tideline.data_docs import make_offline, render_page
from tideline.expectations import run_checks
from tideline.files import replace_folder
from tideline.layout import Layout
from tideline.params import Params
from tideline.progress import stage
from tideline.rules import Check, Finding, derive_checks


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
        findings = inspect(task, frame, checks, layout)
        page = layout.data_docs / "index.html"
        log.say(f"{len(checks)} rules on {len(frame):,} rows; page: {page}")
        broken = [finding for finding in findings if not finding.holds]
        warnings = [finding for finding in broken if finding.check.severity == "warning"]
        errors = [finding for finding in broken if finding.check.severity == "error"]
        for finding in warnings:
            log.say(f"warning: {finding}")
        if errors:
            raise TidelineError(_explain(task, errors, page))
        record = {
            "passed": True,
            "rules": len(checks),
            "warnings": [finding.to_dict() for finding in warnings],
            "data_sha256": hash_file(data),
        }
        evidence.parent.mkdir(parents=True, exist_ok=True)
        fresh = evidence.with_name(".validation.json.part")
        fresh.write_text(json.dumps(record, indent=2) + "\n")
        fresh.replace(evidence)
        log.say(f"passed, {len(warnings)} warnings; written to {evidence}")


def inspect(task: Task, frame: pd.DataFrame, checks: Sequence[Check], layout: Layout) -> list[Finding]:
    """What the checks come to; the pages that show it take the place of the former ones, whole."""
    with replace_folder(layout.data_docs) as docs:
        theirs = docs / "great_expectations"
        findings = run_checks(task.name, frame, checks, theirs)
        make_offline(theirs)
        names = {"validations": "Result of this run", "expectations": "Suite of expectations"}
        links = [
            (name, page.relative_to(docs).as_posix())
            for folder, name in names.items()
            for page in (theirs / folder).rglob("*.html")
        ]
        page = render_page(task, frame, findings, read_manifest(layout), links)
        (docs / "index.html").write_text(page, encoding="utf-8")
    return findings


def _explain(task: Task, errors: list[Finding], page: Path) -> str:
    lines = "".join(f"  - {finding}\n" for finding in errors)
    return (
        f"the raw data of {task.name} breaks {len(errors)} rules:\n{lines}"
        f"Repair the data and fetch again, or change the column in tasks/{task.name}.py (its range, or its "
        f'severity to "warning") if the rule is wrong. Page: {page}'
    )
