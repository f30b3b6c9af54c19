"""Evidently's workspace: one project a task, its runs, and a dashboard of what they say over time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tideline.contracts import Manifest
from tideline.drift_report.evidently_run import list_drifting, read_moment
from tideline.drift_report.sample import ERROR, MISSING, PREDICTION
from tideline.drift_report.thinning import choose_kept
from tideline.file_lock import hold_lock
from tideline.params import DriftReport

if TYPE_CHECKING:
    from evidently.core.report import Snapshot
    from evidently.sdk.models import DashboardPanelPlot

TAB = "Drift"
DRIFT_LINES, MEAN_PANELS = 8, 4  # columns, the first ones of the task, that the dashboard follows


def add_run(folder: Path, manifest: Manifest, snapshot: Snapshot, settings: DriftReport) -> None:
    """Put a run into the task's project, in place of an earlier one of the same name, and thin out the others.

    folder: the workspace, which all tasks share; it is made as needed. One process at a time works on it.
    """
    os.environ.setdefault("DO_NOT_TRACK", "1")
    from evidently.ui.workspace import Workspace

    folder.mkdir(parents=True, exist_ok=True)
    with hold_lock(folder / ".lock"):
        workspace = Workspace.create(str(folder))
        found = workspace.search_project(manifest.task)
        project = found[0] if found else workspace.create_project(manifest.task, manifest.title)
        panels = list_panels(manifest)
        known = project.dashboard.model().panels
        if _list_content(known) != _list_content(panels):
            if known:
                project.dashboard.clear_dashboard()
            for panel in panels:
                project.dashboard.add_panel(panel, tab=TAB)
        models = [(run, workspace.get_run(project.id, run)) for run in workspace.list_runs(project.id)]
        names = {run: model.name for run, model in models if model is not None}
        workspace.add_run(project.id, snapshot, include_data=False)
        new = snapshot.get_name()
        kept = choose_kept({read_moment(name) for name in (*names.values(), new)}, settings.keep, settings.days)
        for run, name in names.items():
            if name == new or read_moment(name) not in kept:
                workspace.delete_run(project.id, run)


def list_panels(manifest: Manifest) -> list[DashboardPanelPlot]:
    """What the dashboard shows over time."""
    from evidently.sdk.models import PanelMetric
    from evidently.sdk.panels import line_plot_panel

    def mean(column: str, legend: str = "") -> Any:
        return PanelMetric(metric="MeanValue", metric_labels={"column": column}, legend=legend or column)

    drifting = list_drifting(manifest)
    main = [c.name for c in manifest.columns if not c.is_text and c.name in drifting][:MEAN_PANELS]
    share = PanelMetric(metric="DriftedColumnsCount", metric_labels={"value_type": "share"}, legend="share")
    drift = [
        PanelMetric(metric="ValueDrift", metric_labels={"column": name}, legend=name)
        for name in (*drifting[:-1][:DRIFT_LINES], PREDICTION)
    ]
    panels = [
        line_plot_panel("Share of drifted columns", [share], "of the columns and the prediction", "half"),
        line_plot_panel("Mean absolute error", [mean(ERROR)], "of the rows that have a label", "half"),
        line_plot_panel("Missing cells", [mean(MISSING)], "share of all cells", "half"),
        line_plot_panel("Drift", drift, "Evidently's own statistic, by column", "half"),
    ]
    if not manifest.classes:
        panels.append(line_plot_panel("Prediction", [mean(PREDICTION, "mean")], "mean", "half"))
    return panels + [line_plot_panel(f"Column {name}", [mean(name, "mean")], "mean", "half") for name in main]


def _list_content(panels: Iterable[DashboardPanelPlot]) -> list[tuple[str, list[dict[str, str]]]]:
    return [(panel.title, [value.metric_labels for value in panel.values]) for panel in panels]
