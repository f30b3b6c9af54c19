"""Evidently's page and workspace, made of real windows and seen by a real browser."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.alerts.receiver import Receiver
from tests.browser import Browser
from tests.predlog.samples import START
from tests.predlog.test_monitor import SECOND, log_rows
from tests.small_registry import submit
from tests.small_task import RENT, make_frame, small_params
from tideline.bundle import load_bundle
from tideline.champion import champion_bundle
from tideline.drift_report import Drawn, draw_report, pages_folder, workspace_folder
from tideline.drift_report.sample import ERROR, MISSING, sample_training, sample_window
from tideline.drift_report.thinning import choose_kept
from tideline.layout import Layout
from tideline.monitor import Span, monitor
from tideline.predlog import open_store, store_url

PARAMS = small_params(drift_report=replace(small_params().drift_report, rows=250, keep=3, days=0))


def log_windows(layout: Layout, windows: int, rows: int = 300) -> None:
    """Windows one after the other, an hour apart; from the second on, sizes are halved."""
    bundle = load_bundle(champion_bundle(layout))
    with open_store(store_url(layout.root, {})) as store:
        for i in range(windows):
            frame = make_frame(rows, seed=20 + i)
            frame["size"] = frame["size"] / (2 if i else 1)
            log_rows(store, bundle, RENT, frame, START + i * 3_600 * SECOND)


def draw(layout: Layout, window: int) -> Drawn:
    """Judge and draw one of the windows."""
    start = START + window * 3_600 * SECOND
    with open_store(store_url(layout.root, {})) as store:
        verdict = monitor(PARAMS, layout, store, Span(start, start + 3_600 * SECOND), now=start + 3_600 * SECOND)
        return draw_report(PARAMS, layout, store, verdict)


def test_samples_are_bounded_seeded_and_of_the_champions_window(layout: Layout) -> None:
    assert submit(layout, "better").accepted
    log_windows(layout, 2)
    bundle = load_bundle(champion_bundle(layout))
    with open_store(store_url(layout.root, {})) as store:
        span = Span(START + 3_600 * SECOND, None)
        verdict = monitor(PARAMS, layout, store, span, now=START + 7_200 * SECOND)
        some, same, every = (sample_window(bundle, store, verdict, n, 1) for n in (250, 250, 5_000))
        assert some.frame.equals(same.frame) and (len(some.frame), some.rows, len(every.frame)) == (250, 300, 300)
        assert (some.describe("rows"), every.describe("rows")) == ("a sample of 250 of 300 rows", "all 300 rows")
        assert every.frame["size"].max() <= 50 and every.frame[ERROR].notna().all()
        features = every.frame[["size", "floor", "kind", "day"]]
        assert every.frame[MISSING].mean() == pytest.approx(features.isna().to_numpy().mean())
    training = sample_training(bundle, layout, 250, 1)
    assert (len(training.frame), training.rows) == (250, 800) and list(training.frame) == list(every.frame)
    assert training.frame["prediction"].notna().all() and training.frame[ERROR].nunique() == 1


def test_rows_of_another_split_are_not_taken_for_the_champions(layout: Layout) -> None:
    """Those that travel in its bundle are, and the page says so: other rows, a split at work, half a file, none."""
    assert submit(layout, "better").accepted
    bundle = load_bundle(champion_bundle(layout))
    evidence, train = layout.split / "split.json", layout.split / "train.parquet"
    told, rows = evidence.read_text(), train.read_bytes()
    assert sample_training(bundle, layout, 250, 1).note == ""

    def check_fallback() -> None:
        found = sample_training(bundle, layout, 250, 1)
        assert (len(found.frame), found.rows) == (250, 800) and found.frame["prediction"].notna().all()
        assert "a sample of 250 of 800 training rows (from the bundle: data/rent/split" in found.describe(
            "training rows"
        )

    evidence.write_text(json.dumps(json.loads(told) | {"hash": "0" * 64}))
    check_fallback()
    evidence.write_text(told)
    train.write_bytes(rows[: len(rows) // 2])
    check_fallback()
    train.unlink()
    check_fallback()
    evidence.unlink()
    check_fallback()


def test_of_a_quarter_of_hours_the_latest_and_one_a_day_stay() -> None:
    moments = [f"2026-{1 + day // 28:02}-{1 + day % 28:02}T{hour:02}-15-00" for day in range(112) for hour in range(24)]
    kept = sorted(choose_kept(reversed(moments), keep=20, days=90))
    assert kept[-20:] == moments[-20:] and len(kept) == 20 + 90 - 1
    assert kept[:-20] == [m for m in moments if m.endswith("T23-15-00")][-90:-1]
    assert choose_kept(kept, keep=20, days=90) == set(kept)  # drawn one by one it comes to the same
    assert choose_kept(moments, keep=3, days=0) == set(moments[-3:])
    assert choose_kept([], keep=3, days=2) == set()


@pytest.mark.slow
def test_windows_become_pages_and_runs_of_which_the_last_stay(layout: Layout) -> None:
    assert submit(layout, "better").accepted
    log_windows(layout, 4)
    drawn = [draw(layout, i) for i in (0, 1, 2, 2, 3)]
    pages = sorted(path.name for path in pages_folder(layout).iterdir())
    assert pages == sorted({d.page.name for d in drawn})[1:] and len(pages) == PARAMS.drift_report.keep
    text = drawn[-1].page.read_text()
    assert "a sample of 250 of 300 rows of the window against a sample of 250 of 800 training rows" in text
    assert "Content-Security-Policy" in text[:2_000]
    from evidently.ui.workspace import Workspace

    workspace = Workspace.create(str(workspace_folder(layout)))
    (project,) = workspace.list_projects()
    assert project.name == "rent"
    runs = [workspace.get_run(project.id, run) for run in workspace.list_runs(project.id)]
    names = sorted(run.name for run in runs if run is not None)
    assert len(names) == 3 and [name.split()[1] + ".html" for name in names] == pages
    shares = [
        result.share.value
        for run in runs
        if run is not None
        for result in run.metric_results.values()
        if type(result).__name__ == "CountValue" and "Drifted" in json.dumps(result.display_name)
    ]
    assert len(shares) == 3 and all(share >= 2 / 4 for share in shares)  # size and prediction
    titles = [panel.title for panel in project.dashboard.model().panels]
    assert (
        titles[:3] == ["Share of drifted columns", "Mean absolute error", "Missing cells"] and "Column size" in titles
    )


@pytest.mark.slow
@pytest.mark.browser
def test_page_shows_itself_without_a_network(layout: Layout, chromium: str, tmp_path: Path) -> None:
    assert submit(layout, "better").accepted
    log_windows(layout, 1)
    page = draw(layout, 0).page
    with Browser(chromium, tmp_path / "profile") as browser:
        browser.open(page.resolve().as_uri())
        browser.wait_for("document.body.innerText.includes('Dataset Drift')")
        assert "a sample of 250 of 800 training rows" in browser.text("#tideline-sample")
        outside = "performance.getEntriesByType('resource').map(e => e.name).filter(n => !/^(data|blob|file):/.test(n))"
        assert browser.run(outside) == []
        with Receiver() as receiver:  # which takes what a page without the policy sends
            send = f"fetch('{receiver.url}', {{method: 'POST', mode: 'no-cors', body: '{{}}'}})"
            assert browser.run(f"{send}.then(() => 'sent', error => 'refused')") == "refused"
            assert receiver.asked == 0
            (tmp_path / "other.html").write_text("<p>no policy</p>")
            browser.open((tmp_path / "other.html").as_uri())
            browser.wait_for("document.body.innerText.includes('no policy')")
            assert browser.run(f"{send}.then(() => 'sent', error => 'refused')") == "sent"
