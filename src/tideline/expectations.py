"""Great Expectations behind one call: rules in, breaches out, pages on the side. Imports it inside functions."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tideline.contracts import Column, Severity, Task, TidelineError

EXAMPLES = 5


@dataclass(frozen=True)
class Check:
    """One rule on one column (or on the table: column is empty): an expectation's name and its arguments."""

    column: str
    rule: str
    wanted: str
    expectation: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    severity: Severity = "error"


@dataclass(frozen=True)
class Breach:
    """A check that did not hold: how many of how many values, and a few of them."""

    check: Check
    count: int
    total: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        place = f"column {self.check.column!r}" if self.check.column else "table"
        share = f" in {self.count:,} of {self.total:,} rows ({self.count / self.total:.2%})" if self.count else ""
        examples = f"; such as {', '.join(self.examples)}" if self.examples else ""
        return f"{place}, rule {self.check.rule}: expected {self.check.wanted}, broken{share}{examples}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: column, rule, expected, count, total, share, examples."""
        return {
            "column": self.check.column,
            "rule": self.check.rule,
            "expected": self.check.wanted,
            "count": self.count,
            "total": self.total,
            "share": self.count / self.total if self.total else 0.0,
            "examples": list(self.examples),
        }


def derive_checks(task: Task, frame: pd.DataFrame) -> list[Check]:
    """All rules that a task states: row count, columns, and of each column type, range, categories, and so on."""
    columns = (*task.columns, *task.extra, task.target)
    low, high = task.rows
    names = [c.name for c in columns]
    checks = [
        Check("", "rows", f"{low:,} to {high:,} rows" if high < 2**53 else f"at least {low:,} rows",
              "ExpectTableRowCountToBeBetween", {"min_value": low, "max_value": high}),
        Check("", "columns", f"the columns {', '.join(names)}",
              "ExpectTableColumnsToMatchSet", {"column_set": names, "exact_match": True}),
    ]  # fmt: skip
    for column in columns:
        if column.name in frame:
            checks += _column_checks(column, is_text=not pd.api.types.is_numeric_dtype(frame[column.name]))
    return checks


def _column_checks(column: Column, is_text: bool) -> list[Check]:
    def check(rule: str, wanted: str, expectation: str, **arguments: Any) -> Check:
        severity = column.severity.get(rule, "error")
        return Check(column.name, rule, wanted, expectation, {"column": column.name, **arguments}, severity)

    words = {"number": "finite numbers", "integer": "whole numbers", "date": "dates", "category": "text"}
    dtype = "str" if column.is_text else "float64"
    checks = [check("type", words[column.kind], "ExpectColumnValuesToBeOfType", type_=dtype)]
    if not column.is_text:
        checks.append(check("type", words[column.kind], "values_of_kind", kind=column.kind))
    # A column of text has no order: its type breach stands for the range too.
    if (column.minimum is not None or column.maximum is not None) and not is_text:
        low, high = column.minimum, column.maximum
        limits = " to ".join("any" if limit is None else f"{limit:.10g}" for limit in (low, high))
        wanted = f"{limits} {column.unit}".rstrip()
        checks.append(check("range", wanted, "ExpectColumnValuesToBeBetween", min_value=low, max_value=high))
    if column.categories:
        values = list(column.categories)
        checks.append(check("categories", f"one of {values}", "ExpectColumnValuesToBeInSet", value_set=values))
    if column.unique:
        checks.append(check("unique", "no value twice", "ExpectColumnValuesToBeUnique"))
    wanted = f"at most {column.missing:.2%} missing" if column.missing else "none missing"
    checks.append(check("missing", wanted, "ExpectColumnValuesToNotBeNull", mostly=1.0 - column.missing))
    return checks


def run_checks(name: str, frame: pd.DataFrame, checks: Sequence[Check], docs: Path) -> list[Breach]:
    """The checks that do not hold on `frame`; Great Expectations' pages are written to the folder `docs`.

    Raises TidelineError if an expectation could not be computed.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations.core.result_format import ResultFormat
    from great_expectations.data_context.types.base import ProgressBarsConfig

    docs.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".data_docs-", dir=docs.parent))
    try:
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        context.add_data_docs_site("pages", {
            "class_name": "SiteBuilder",
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(fresh.resolve())},
        })  # fmt: skip
        asset = context.data_sources.add_pandas("raw").add_dataframe_asset(name)
        batch = asset.add_batch_definition_whole_dataframe("all")
        # All at once: adding to a stored suite writes the whole suite again each time (98 s for 261 rules).
        expectations = [_expectation(check, number) for number, check in enumerate(checks)]
        suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=expectations))
        definition = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=suite))
        checkpoint = context.checkpoints.add(
            gx.Checkpoint(
                name=name,
                validation_definitions=[definition],
                actions=[gx.checkpoint.UpdateDataDocsAction(name="docs", site_names=["pages"])],
                result_format={"result_format": ResultFormat.SUMMARY, "partial_unexpected_count": EXAMPLES},
            )
        )
        outcome = checkpoint.run(batch_parameters={"dataframe": frame})
        results = [result for run in outcome.run_results.values() for result in run.results]
        breaches = [_breach(result, checks, frame) for result in results if not result.success]
        _put(fresh, docs)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    if len(results) != len(checks):
        raise TidelineError(f"validation of {name}: {len(checks)} rules, but {len(results)} results")
    return sorted(breaches, key=lambda breach: checks.index(breach.check))


def _expectation(check: Check, number: int) -> Any:
    import great_expectations.expectations as gxe

    kind = _values_of_kind() if check.expectation == "values_of_kind" else getattr(gxe, check.expectation)
    severity = "warning" if check.severity == "warning" else "critical"
    return kind(**check.arguments, meta={"check": number}, severity=severity)


def _breach(result: Any, checks: Sequence[Check], frame: pd.DataFrame) -> Breach:
    config = result.expectation_config
    check = checks[config.meta["check"]]
    if "unexpected_count" not in result.result and "observed_value" not in result.result:
        reasons = {info.get("exception_message") for info in result.exception_info.values() if isinstance(info, dict)}
        raise TidelineError(f"validation: {config.type} on {check.column!r} could not be computed: {reasons}")
    count = int(result.result.get("unexpected_count", 0))
    if check.rule == "missing":
        rows = np.flatnonzero(frame[check.column].isna().to_numpy())[:EXAMPLES]
        examples = tuple(f"row {row}" for row in rows)
    elif "unexpected_count" in result.result:
        examples = tuple(dict.fromkeys(repr(value) for value in result.result["partial_unexpected_list"]))
    elif check.rule == "columns":
        wanted = set(check.arguments["column_set"])
        lacking, unknown = sorted(wanted - set(frame)), sorted(map(str, set(frame) - wanted))
        examples = (f"lacking {lacking}, unknown {unknown}",)
    else:
        examples = (f"{result.result['observed_value']}",)
    return Breach(check, count, len(frame), examples)


def _put(fresh: Path, docs: Path) -> None:
    """Let the folder `fresh` take the place of `docs`."""
    fresh.chmod(0o755)
    old = fresh.with_name(fresh.name + "-old")
    if docs.exists():
        docs.rename(old)
    fresh.rename(docs)
    shutil.rmtree(old, ignore_errors=True)


@cache
def _values_of_kind() -> Any:
    """An expectation on single values: a finite number, a whole number or a day, as `kind` says."""
    from great_expectations.execution_engine import PandasExecutionEngine
    from great_expectations.expectations.expectation import ColumnMapExpectation
    from great_expectations.expectations.metrics import ColumnMapMetricProvider, column_condition_partial

    class ColumnValuesOfKind(ColumnMapMetricProvider):  # type: ignore[misc]
        condition_metric_name = "column_values.of_kind"
        condition_value_keys = ("kind",)

        @column_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
        def _pandas(cls, column: Any, kind: str, **_: Any) -> Any:
            numbers = pd.to_numeric(column, errors="coerce")
            sound = np.isfinite(numbers)
            return sound if kind == "number" else sound & (numbers % 1 == 0)

    class ExpectColumnValuesToBeOfKind(ColumnMapExpectation):  # type: ignore[misc]
        """Values are numbers of the stated kind."""

        kind: str
        map_metric = "column_values.of_kind"
        success_keys = ("kind", "mostly")

    assert ColumnValuesOfKind.condition_metric_name == ExpectColumnValuesToBeOfKind.map_metric
    return ExpectColumnValuesToBeOfKind
