"""Great Expectations behind one call: checks in, findings out, pages on the side. Imports it inside functions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tideline.contracts import TidelineError
from tideline.rules import Check, Finding, write_value

EXAMPLES = 5


def run_checks(name: str, frame: pd.DataFrame, checks: Sequence[Check], pages: Path) -> list[Finding]:
    """One finding a check, in their order; Great Expectations' own pages are written to the folder `pages`.

    Raises TidelineError if an expectation could not be computed.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations.core.result_format import ResultFormat
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    context.add_data_docs_site("pages", {
        "class_name": "SiteBuilder",
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(pages.resolve())},
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
    findings = {}
    for run in outcome.run_results.values():
        for result in run.results:
            number = result.expectation_config.meta["check"]
            findings[number] = _find(result, checks[number], frame)
    if len(findings) != len(checks):
        raise TidelineError(f"validation of {name}: {len(checks)} rules, but {len(findings)} results")
    return [findings[number] for number in range(len(checks))]


def _expectation(check: Check, number: int) -> Any:
    import great_expectations.expectations as gxe

    kind = _values_of_kind() if check.expectation == "values_of_kind" else getattr(gxe, check.expectation)
    severity = "warning" if check.severity == "warning" else "critical"
    return kind(**check.arguments, meta={"check": number}, severity=severity)


def _find(result: Any, check: Check, frame: pd.DataFrame) -> Finding:
    found = result.result
    if "unexpected_count" not in found and "observed_value" not in found:
        reasons = {info.get("exception_message") for info in result.exception_info.values() if isinstance(info, dict)}
        raise TidelineError(f"validation: {check.expectation} on {check.column!r} could not be computed: {reasons}")
    count = int(found.get("unexpected_count", 0))
    if check.rule == "missing":
        rows = np.flatnonzero(frame[check.column].isna().to_numpy())[:EXAMPLES]
        examples = tuple(f"row {row}" for row in rows)
    elif "unexpected_count" in found:
        values = found.get("partial_unexpected_list", ())
        examples = tuple(dict.fromkeys(write_value(value, check.kind) for value in values))
    elif check.rule == "rows":
        examples = (f"{len(frame):,} rows",)
    elif check.rule == "columns" and result.success:
        examples = (f"{len(frame.columns)} columns",)
    elif check.rule == "columns":
        wanted = set(check.arguments["column_set"])
        lacking, unknown = sorted(wanted - set(frame)), sorted(map(str, set(frame) - wanted))
        examples = (f"lacking {lacking}, unknown {unknown}",)
    else:
        examples = (f"{found['observed_value']}",)
    return Finding(check, bool(result.success), count, len(frame), examples)


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
