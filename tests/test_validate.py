"""Every rule: broken on a real frame, named with column, count, share and examples; warnings let through."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.raw_table import make_rows, make_task, put, set_values
from tideline.catalog import get_task
from tideline.contracts import Kind, Task, TidelineError
from tideline.data import hash_file
from tideline.expectations import run_checks
from tideline.layout import Layout
from tideline.params import load_params
from tideline.rules import Finding, derive_checks, write_value
from tideline.simulator import make_frame
from tideline.validate import validate

PARAMS = load_params(Path(__file__).parents[1] / "params.yaml")


def find_breaches(task: Task, frame: pd.DataFrame, folder: Path) -> list[Finding]:
    checks = derive_checks(task, frame)
    findings = run_checks(task.name, frame, checks, folder / "docs")
    assert [finding.check for finding in findings] == checks
    return [finding for finding in findings if not finding.holds]


def test_sound_data_leave_evidence_and_pages(tmp_path: Path) -> None:
    layout = Layout("small", tmp_path)
    put(make_rows(), layout)
    validate(make_task(), PARAMS, layout)
    path = layout.validation / "validation.json"
    record = json.loads(path.read_text())
    assert record == {
        "passed": True, "rules": 21, "warnings": [], "data_sha256": hash_file(layout.raw / "data.parquet")
    }  # fmt: skip
    assert (layout.data_docs / "index.html").is_file()
    assert list(layout.validation.iterdir()) == [path]
    assert [p.name for p in layout.data_docs.parent.iterdir()] == ["data_docs"]
    before = path.read_bytes()
    validate(make_task(), PARAMS, layout)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_values("size", 3, 12.5), r"'size', rule range: expected 0 to 10 m, broken in 3 of 100 rows .3.00%.; .*12"),
        (set_values("y", 1, -1.0), r"'y', rule range: expected 0 to any, broken in 1 of 100 .*; such as -1\n"),
        (set_values("day", 2, 20_000.0), r"'day', rule range: .* 2011-01-26 to .*in 2 of 100 .*such as 2024-10-04"),
        (set_values("size", 11, np.nan), r"'size', rule missing: .*at most 10.00% missing, .*in 11 .*row 0, row 1"),
        (set_values("y", 1, np.nan), r"'y', rule missing: expected none missing, broken in 1 of 100"),
        (set_values("kind", 4, "zebra"), r"'kind', rule categories: expected one of .'a', 'b'., broken in 4 .*'zebra'"),
        (set_values("id", 2, 7.0), r"'id', rule unique: expected no value twice, broken in 3 of 100 .*such as 7\n"),
        (set_values("id", 1, 0.5), r"'id', rule type: expected whole numbers, broken in 1 of 100 .*0.5"),
        (set_values("day", 1, 15_000.5), r"'day', rule type: expected dates, broken in 1 of 100"),
        (set_values("y", 1, np.inf), r"'y', rule type: expected finite numbers, broken in 1 of 100 .*inf"),
        (set_values("size", 2, "tall"), r"'size', rule type: expected finite numbers, broken in 2 of 100 .*'tall'"),
        (lambda f: f.assign(kind=np.arange(100.0)), r"'kind', rule type: expected text, broken; such as float64"),
        (lambda f: f.head(20), r"table, rule rows: expected 50 to 150 rows, broken; such as 20 rows"),
        (lambda f: f.drop(columns="size"), r"table, rule columns: expected the columns .*lacking .'size'., unknown .."),
        (lambda f: f.assign(casual=1.0), r"table, rule columns: .*unknown .'casual'."),
    ],
)  # fmt: skip
def test_each_broken_rule_is_named(
    change: Callable[[pd.DataFrame], pd.DataFrame], message: str, tmp_path: Path
) -> None:
    layout = Layout("small", tmp_path)
    put(change(make_rows()), layout)
    with pytest.raises(TidelineError, match=message):
        validate(make_task(), PARAMS, layout)
    assert not (layout.validation / "validation.json").exists()
    assert (layout.data_docs / "index.html").is_file()


def test_all_breaches_are_listed_at_once_and_old_evidence_goes(tmp_path: Path) -> None:
    layout = Layout("small", tmp_path)
    put(make_rows(), layout)
    validate(make_task(), PARAMS, layout)
    put(set_values("size", 3, -1.0)(set_values("kind", 4, "zebra")(make_rows())), layout)
    with pytest.raises(
        TidelineError,
        match=r"(?s)breaks 2 rules:\n  - column 'size'.*\n  - column 'kind'.*tasks/small.py.*data_docs/index.html",
    ):
        validate(make_task(), PARAMS, layout)
    assert not (layout.validation / "validation.json").exists()


def test_a_warning_is_reported_recorded_and_let_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout = Layout("small", tmp_path)
    put(set_values("size", 3, 12.5)(make_rows()), layout)
    validate(make_task({"range": "warning"}), PARAMS, layout)
    record = json.loads((layout.validation / "validation.json").read_text())
    assert record["passed"] is True
    assert record["warnings"] == [
        {"column": "size", "rule": "range", "expected": "0 to 10 m", "count": 3, "total": 100, "share": 0.03,
         "examples": ["12.5"]}
    ]  # fmt: skip
    assert "warning: column 'size', rule range" in capsys.readouterr().out
    put(set_values("size", 50, np.nan)(make_rows()), layout)
    with pytest.raises(TidelineError, match="rule missing"):  # only the range was made a warning
        validate(make_task({"range": "warning"}), PARAMS, layout)


def test_no_data_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(TidelineError, match="run `tideline fetch small` first"):
        validate(make_task(), PARAMS, Layout("small", tmp_path))


def test_a_new_category_of_the_simulator_stops_housing(tmp_path: Path) -> None:
    task = get_task("housing")
    frame = make_frame(2_000, 1, "new_category")
    (breach,) = find_breaches(task, frame, tmp_path)
    assert (breach.check.column, breach.check.rule, breach.examples) == (
        "ocean_proximity",
        "categories",
        ("'LAKESIDE'",),
    )
    assert breach.count == (frame["ocean_proximity"] == "LAKESIDE").sum()


def test_real_data_pass(data_dir: Path, tmp_path: Path) -> None:
    task = get_task("housing")
    frame = pd.read_csv(data_dir / "housing.csv")[[c.name for c in (*task.columns, task.target)]]
    assert find_breaches(task, frame, tmp_path) == []
    strict = replace(task, rows=(1, 20_639))
    (breach,) = find_breaches(strict, frame, tmp_path)
    assert breach.check.rule == "rows" and breach.examples == ("20,640 rows",)


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (15_000.0, "date", "2011-01-26"),
        (15_000.5, "date", "15000.5"),
        (1e300, "date", "1e+300"),
        (15_000.0, "number", "15000"),
        (0.1 + 0.2, "number", "0.30000000000000004"),
        (float("inf"), "integer", "inf"),
        ("tall", "number", "'tall'"),
        (None, "category", "None"),
    ],
)
def test_values_are_written_exactly_and_days_as_dates(value: object, kind: Kind, words: str) -> None:
    assert write_value(value, kind) == words
