"""One run of Evidently: its report on a window, and the page that it makes of it."""

from __future__ import annotations

import html
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tideline.contracts import Manifest
from tideline.drift_report.sample import ERROR, MISSING, PREDICTION, Sampled
from tideline.monitor.records import WindowVerdict

if TYPE_CHECKING:
    from evidently.core.report import Snapshot

# Whatever its scripts may try: nothing is fetched, and nothing is told to anybody.
GUARD = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'unsafe-inline' "
    "'unsafe-eval' data: blob:; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; worker-src blob:\">"
)


def list_drifting(manifest: Manifest) -> list[str]:
    """The columns whose drift is drawn, and the prediction. Not dates: time moves on."""
    return [column.name for column in manifest.columns if column.kind != "date"] + [PREDICTION]


def run_report(manifest: Manifest, verdict: WindowVerdict, window: Sampled, training: Sampled) -> Snapshot:
    """Drift of columns and prediction, missing values, and error, of the window against training."""
    os.environ.setdefault("DO_NOT_TRACK", "1")  # read when evidently is imported
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import MeanValue, MissingValueCount
    from evidently.presets import DataDriftPreset

    numbers = [column.name for column in manifest.columns if not column.is_text]
    texts = [column.name for column in manifest.columns if column.is_text]
    (texts if manifest.classes else numbers).append(PREDICTION)
    definition = DataDefinition(numerical_columns=[*numbers, ERROR, MISSING], categorical_columns=texts)
    means = [name for name in numbers if name in list_drifting(manifest)]
    report = Report(
        [
            DataDriftPreset(columns=list_drifting(manifest)),
            *(MeanValue(column=name) for name in means),
            *(MissingValueCount(column=column.name) for column in manifest.columns),
            *(MeanValue(column=name) for name in (MISSING, *([ERROR] if has_errors(window, training) else []))),
        ]
    )
    current, reference = (Dataset.from_pandas(s.frame, data_definition=definition) for s in (window, training))
    told = {"version": verdict.version, "status": verdict.status, "sample": describe_samples(window, training)}
    moment = datetime.fromtimestamp((verdict.last or verdict.judged) / 1e6, UTC)
    return report.run(
        current, reference, timestamp=moment, metadata=dict(told), tags=[verdict.version], name=name_run(verdict)
    )


def has_errors(window: Sampled, training: Sampled) -> bool:
    """True if there is an error to compare, and one to compare it with."""
    return bool(window.frame[ERROR].notna().any() and training.frame[ERROR].notna().any())


def name_run(verdict: WindowVerdict) -> str:
    """A window's name, the same whenever it is drawn: version and time (UTC) of its last row."""
    moment = datetime.fromtimestamp((verdict.last or verdict.judged) / 1e6, UTC)
    return f"{verdict.version} {moment:%Y-%m-%dT%H-%M-%S}"


def read_moment(name: str) -> str:
    """The time in a name that `name_run` made."""
    return name.split()[-1]


def describe_samples(window: Sampled, training: Sampled) -> str:
    """What is compared, in words."""
    return f"{window.describe('rows of the window')} against {training.describe('training rows')}"


def write_page(snapshot: Snapshot, verdict: WindowVerdict, window: Sampled, training: Sampled) -> str:
    """Evidently's page, with a line on top that says what it shows, and a policy that lets nothing be loaded."""
    page: str = snapshot.get_html_str(as_iframe=False)
    known = int(window.frame[ERROR].notna().sum())
    error = f"{known:,} of the window's rows here have a label"
    if has_errors(window, training):
        error += "; the mean of `absolute error` at training is that of the validation"
    elif known:
        error += "; the bundle does not say how wrong its validation was, so that there is no error to compare with"
    text = (
        f"<b>{html.escape(verdict.task)} {html.escape(verdict.version)}</b>: the monitor's verdict is "
        f"<b>{verdict.status}</b>, on all {verdict.rows:,} rows. This page shows "
        f"<b>{html.escape(describe_samples(window, training))}</b>, by Evidently's own tests. {html.escape(error)}."
    )
    style = "font: 15px sans-serif; padding: 12px 20px; background: #fff4d6; border-bottom: 1px solid #d9b44a"
    page = page.replace("<head>", f"<head>{GUARD}", 1)
    start = page.index("<body")
    end = page.index(">", start) + 1
    return f'{page[:end]}<div id="tideline-sample" style="{style}">{text}</div>{page[end:]}'
