"""Fetch: order of sources, provenance, what is kept, what is refused; and the tasks on their real data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tideline.catalog import get_task, names
from tideline.contracts import Task, TidelineError
from tideline.data import conform, fetch, hash_frame, read_manifest
from tideline.data_frame import column_names
from tideline.layout import Layout
from tideline.params import Params, load_params
from tideline.simulator import make_frame
from tideline.tasks.bikes import parse_days

_PARAMS = load_params(Path(__file__).parents[1] / "params.yaml")
PARAMS = replace(_PARAMS, simulator=replace(_PARAMS.simulator, rows=2_000))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder, and addresses that refuse at once."""
    monkeypatch.delenv("TIDELINE_DATA_DIR", raising=False)


def make_task(name: str = "housing", **changes: object) -> Task:
    task = get_task(name)
    source = replace(task.source, urls=("http://127.0.0.1:9/housing.tgz",) if task.source.urls else (), sha256=())
    return replace(task, source=replace(source, **changes))


def write_csv(folder: Path, rows: int = 1_500, seed: int = 1) -> pd.DataFrame:
    folder.mkdir(parents=True, exist_ok=True)
    frame = make_frame(rows, seed)
    frame.to_csv(folder / "housing.csv", index=False)
    return frame


def read_all(layout: Layout) -> dict[str, tuple[bytes, int]]:
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in layout.raw.iterdir()}


def test_folder_comes_before_external_and_both_before_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout("housing", tmp_path)
    fetch(make_task(), PARAMS, layout, "auto")
    manifest = read_manifest(layout)
    assert manifest is not None and manifest["simulated"] is True and manifest["source"] == "simulator"
    assert [line.split(":")[0] for line in manifest["tried"]] == ["folder", "external", "download"]
    assert manifest["scenario"] == "none" and manifest["rows"] == 2_000

    external = write_csv(tmp_path / "data" / "external", seed=2)
    fetch(make_task(), PARAMS, layout, "auto")
    manifest = read_manifest(layout)
    assert manifest is not None and (manifest["source"], manifest["simulated"]) == ("external", False)
    pd.testing.assert_frame_equal(pd.read_parquet(layout.raw / "data.parquet"), external)

    folder = write_csv(tmp_path / "mine", seed=3)
    monkeypatch.setenv("TIDELINE_DATA_DIR", str(tmp_path / "mine"))
    fetch(make_task(), PARAMS, layout, "auto")
    manifest = read_manifest(layout)
    assert manifest is not None and (manifest["source"], manifest["tried"]) == ("folder", [])
    pd.testing.assert_frame_equal(pd.read_parquet(layout.raw / "data.parquet"), folder)
    assert str(tmp_path) not in json.dumps(manifest)


def test_auto_never_replaces_real_by_simulated_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout = Layout("housing", tmp_path)
    write_csv(tmp_path / "data" / "external")
    fetch(make_task(), PARAMS, layout, "auto")
    (tmp_path / "data" / "external" / "housing.csv").unlink()
    before = read_all(layout)
    fetch(make_task(), PARAMS, layout, "auto")
    assert read_all(layout) == before
    assert "kept the real data" in capsys.readouterr().out

    fetch(make_task(), PARAMS, layout, "simulator")  # asked for by name
    manifest = read_manifest(layout)
    assert manifest is not None and manifest["simulated"] is True


def test_a_changed_snapshot_is_not_kept_silently(tmp_path: Path) -> None:
    layout = Layout("housing", tmp_path)
    write_csv(tmp_path / "data" / "external")
    fetch(make_task(), PARAMS, layout, "auto")
    (tmp_path / "data" / "external" / "housing.csv").unlink()
    (layout.raw / "data.parquet").write_bytes(b"scribble")
    with pytest.raises(TidelineError, match=r"was changed since it was fetched: sha256 is .* the manifest says"):
        fetch(make_task(), PARAMS, layout, "auto")


@pytest.mark.parametrize("source", ["external", "simulator"])
def test_the_same_content_leaves_the_files_untouched(tmp_path: Path, source: str) -> None:
    layout = Layout("housing", tmp_path)
    write_csv(tmp_path / "data" / "external")
    fetch(make_task(), PARAMS, layout, source)
    before = read_all(layout)
    fetch(make_task(), PARAMS, layout, source)
    assert read_all(layout) == before
    again = Layout("housing", tmp_path / "again")
    write_csv(again.root / "data" / "external")
    fetch(make_task(), PARAMS, again, source)
    assert {k: v[0] for k, v in read_all(again).items()} == {k: v[0] for k, v in before.items()}


@pytest.mark.parametrize(
    ("source", "tried"),
    [
        ("folder", ["folder: TIDELINE_DATA_DIR is not set"]),
        ("external", ["external: no housing.csv in data/external"]),
        ("download", ["download: http://127.0.0.1:9/housing.tgz: not reachable"]),
    ],
)
def test_a_named_source_works_or_says_what_to_do(tmp_path: Path, source: str, tried: list[str]) -> None:
    with pytest.raises(TidelineError) as caught:
        fetch(make_task(), PARAMS, Layout("housing", tmp_path), source)
    text = str(caught.value)
    assert f"no data for housing (source: {source})" in text
    assert text.count("\n  - ") == 1 and all(line in text for line in tried)
    assert "set TIDELINE_DATA_DIR" in text and "--source simulator" in text
    assert not (tmp_path / "data" / "housing" / "raw").exists()
    assert not list((tmp_path / "data" / "housing").iterdir())


def test_without_simulator_everything_tried_is_listed(tmp_path: Path) -> None:
    with pytest.raises(TidelineError) as caught:
        fetch(make_task("bikes"), PARAMS, Layout("bikes", tmp_path), "auto")
    text = str(caught.value)
    assert [f"- {way}:" in text for way in ("folder", "external", "download", "simulator")] == [True] * 4
    assert "bikes has no simulator" in text and "--source simulator" not in text and "bikes_hour.csv" in text


@pytest.mark.parametrize("source", ["auto", "folder", "external"])
def test_a_wrong_checksum_names_both_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    folder = tmp_path / "data" / "external"
    write_csv(folder)
    if source == "folder":
        monkeypatch.setenv("TIDELINE_DATA_DIR", str(folder))
    wanted = "ab" * 32
    with pytest.raises(TidelineError, match=f"wrong checksum of .*sha256 is [0-9a-f]{{64}}, expected {wanted}"):
        fetch(make_task(sha256=(wanted,)), PARAMS, Layout("housing", tmp_path), source)


def test_a_folder_that_is_none_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDELINE_DATA_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(TidelineError, match=r"TIDELINE_DATA_DIR is .* which is no folder"):
        fetch(make_task(), PARAMS, Layout("housing", tmp_path), "auto")


def test_unknown_source_and_broken_manifest(tmp_path: Path) -> None:
    layout = Layout("housing", tmp_path)
    with pytest.raises(TidelineError, match="expected one of auto, folder, external, download, simulator"):
        fetch(make_task(), PARAMS, layout, "internet")
    layout.raw.mkdir(parents=True)
    (layout.raw / "manifest.json").write_text("{")
    with pytest.raises(TidelineError, match=r"manifest.json is broken .* fetch again"):
        fetch(make_task(), PARAMS, layout, "simulator")


def test_unreadable_files_say_so(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "external"
    folder.mkdir(parents=True)
    for content, message in (
        ("", "cannot be read as data of housing"),
        ("longitude,latitude\n1,2\n", "lacks the columns"),
    ):
        (folder / "housing.csv").write_text(content)
        with pytest.raises(TidelineError, match=message):
            fetch(make_task(), PARAMS, Layout("housing", tmp_path), "external")


def test_conform_orders_converts_and_drops() -> None:
    task = get_task("housing")
    frame = make_frame(50, 1)
    shuffled = frame[list(reversed(frame.columns))].astype({"households": int, "ocean_proximity": object})
    pd.testing.assert_frame_equal(conform(task, shuffled), frame)
    broken = frame.astype({"households": object})
    broken.loc[3, "households"] = "many"
    assert str(conform(task, broken)["households"].dtype) == "str"  # left for validation to name
    with pytest.raises(TidelineError, match=r"columns \['garden'\] that tasks/housing.py does not know"):
        conform(task, frame.assign(garden=1))
    with pytest.raises(TidelineError, match=r"lacks the columns \['households'\]"):
        conform(task, frame.drop(columns="households"))


def test_dates_in_both_forms_are_days() -> None:
    days = parse_days(pd.Series(["1/2/2011", "2011-01-02", "12/31/2012", None], dtype="str"))
    assert days.dtype == np.float64
    assert days.tolist()[:3] == [14_976.0, 14_976.0, 15_705.0] and np.isnan(days[3])
    with pytest.raises(ValueError, match="13/40/2011"):
        parse_days(pd.Series(["13/40/2011"], dtype="str"))
    task = get_task("bikes")
    row = {c.name: [0.5] for c in (*task.columns, task.target)}
    for value in ("2011-01-02", pd.Timestamp("2011-01-02"), 14_976):
        assert conform(task, pd.DataFrame({**row, "dteday": [value]}))["dteday"].tolist() == [14_976.0]


def test_hash_sees_values_names_and_order() -> None:
    frame = make_frame(30, 1)
    digest = hash_frame(frame)
    assert digest == hash_frame(frame.copy()) != hash_frame(frame.iloc[::-1])
    assert digest != hash_frame(frame.rename(columns={"households": "homes"}))
    assert digest != hash_frame(frame.assign(households=frame["households"] + 1))


@pytest.mark.parametrize(("name", "rows", "source"), [
    ("housing", 20_640, "folder"), ("bikes", 17_379, "folder"), ("digits", 1_797, "package"),
])  # fmt: skip
def test_real_data(
    name: str, rows: int, source: str, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDELINE_DATA_DIR", str(data_dir))
    task, layout = get_task(name), Layout(name, tmp_path)
    fetch(task, PARAMS, layout, "folder")
    manifest = read_manifest(layout)
    assert manifest is not None
    assert (manifest["rows"], manifest["source"], manifest["simulated"]) == (rows, source, False)
    frame = pd.read_parquet(layout.raw / "data.parquet")
    assert list(frame) == column_names(task) == manifest["columns"] and len(frame) == rows
    for column in (*task.columns, *task.extra, task.target):
        assert str(frame[column.name].dtype) == ("str" if column.is_text else "float64")
    assert frame.isna().sum().sum() == (207 if name == "housing" else 0)
    assert not set(task.dropped) & set(frame)


def test_digits_need_neither_folder_nor_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fetch(get_task("digits"), PARAMS, Layout("digits", tmp_path), "download")
    assert "ships with an installed package" in capsys.readouterr().out


def test_params_and_tasks_agree() -> None:
    params: Params = _PARAMS
    assert set(params.tasks) <= set(names("tasks"))
    for name in names("tasks"):
        task = get_task(name)
        known = {c.name for c in (*task.columns, *task.extra, task.target)}
        assert set(task.split.by) <= known and {s.by for s in task.slices} <= known
        assert {c for block in task.features for c in block.columns} <= set(task.feature_names)
        assert not set(task.dropped) & known
        assert all(reason for reason in task.dropped.values())
        if task.problem == "classification":
            assert task.classes and set(task.target.categories) == set(task.classes)
