"""Evidently's view of a window: a page, and a run in the workspace of all tasks.

It stands beside the monitor's verdict and decides nothing: it draws a sample, by Evidently's own tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tideline.bundle import load_bundle
from tideline.champion import versions_folder
from tideline.files import write_file
from tideline.layout import Layout
from tideline.monitor.records import WindowVerdict
from tideline.params import Params
from tideline.predlog import Store

__all__ = ["Drawn", "draw_report", "workspace_folder"]


@dataclass(frozen=True)
class Drawn:
    """Where it lies, and how much of the window and of training it shows."""

    page: Path
    workspace: Path
    sample: str


def workspace_folder(layout: Layout) -> Path:
    """Evidently's workspace of all tasks: `evidently ui --workspace reports/evidently`."""
    return layout.root / "reports" / "evidently"


def pages_folder(layout: Layout) -> Path:
    """The pages of one task, a file a window."""
    return layout.reports / "drift"


def draw_report(params: Params, layout: Layout, store: Store, verdict: WindowVerdict) -> Drawn:
    """Draw the window of a verdict: reports/TASK/drift/TIME.html (UTC), and a run in the workspace.

    Of both the last `drift_report.keep` stay, and the last one of each of `drift_report.days` days. Nothing leaves the
    machine. Raises TidelineError if the window is empty or the bundle is broken; StoreUnavailable.
    """
    from tideline.drift_report.evidently_run import describe_samples, run_report, write_page
    from tideline.drift_report.sample import sample_training, sample_window
    from tideline.drift_report.thinning import choose_kept
    from tideline.drift_report.workspace import add_run

    settings = params.drift_report
    bundle = load_bundle(versions_folder(layout) / verdict.version)
    window = sample_window(bundle, store, verdict, settings.rows, params.seed)
    training = sample_training(bundle, layout, settings.rows, params.seed)
    snapshot = run_report(bundle.manifest, verdict, window, training)
    page = write_page(snapshot, verdict, window, training)
    moment = datetime.fromtimestamp((verdict.last or verdict.judged) / 1e6, UTC)
    path = pages_folder(layout) / f"{moment:%Y-%m-%dT%H-%M-%S}.html"
    write_file(path, lambda part: part.write_text(page, encoding="utf-8"))
    kept = choose_kept((page.stem for page in path.parent.glob("*.html")), settings.keep, settings.days)
    for old in path.parent.glob("*.html"):
        if old.stem not in kept:
            old.unlink(missing_ok=True)  # another process may have been faster
    add_run(workspace_folder(layout), bundle.manifest, snapshot, settings)
    return Drawn(path, workspace_folder(layout), describe_samples(window, training))
