"""Bundles: written whole, verified byte by byte, refused by name."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.small_task import PETS, RENT, make_frame, make_graph, ship, small_params, write, write_project
from tideline.bundle import Bundle, copy_bundle, finish, load_bundle, write_bundle
from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.predictor import columns_from_frame
from tideline.sketch import build_sketch, sample_columns, sketch_categories, sketch_numbers


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    layout = write_project(tmp_path_factory.mktemp("project"), RENT)
    ship(layout, RENT)
    return layout


@pytest.fixture
def bundle(layout: Layout, tmp_path: Path) -> Bundle:
    return copy_bundle(load_bundle(layout.bundle), tmp_path / "bundle")


def test_manifest_survives_the_way_to_disk_and_back(layout: Layout) -> None:
    manifest = load_bundle(layout.bundle).manifest
    assert manifest.columns == RENT.columns and manifest.target == RENT.target
    assert manifest.clip == RENT.clip and manifest.hashes["split"] == "5" * 64
    assert manifest.metrics["test"]["rmse"] > 0 and manifest.metrics["cv"]["linear"]["mean"] == 1.0
    assert len(manifest.intervals) == 2 and len(manifest.intervals[0].widths) == 5


def test_same_content_gives_the_same_bytes(bundle: Bundle, tmp_path: Path) -> None:
    again = write_bundle(tmp_path / "again", bundle.read("model.onnx"), bundle.manifest, bundle.read_reference())
    assert again.digest == bundle.digest
    for path in bundle.path.iterdir():
        assert path.read_bytes() == (again.path / path.name).read_bytes()


def test_digest_can_be_checked_by_hand(bundle: Bundle) -> None:
    done = subprocess.run(["sha256sum", "-c", "bundle.sha256"], cwd=bundle.path, capture_output=True, text=True)
    assert done.stdout.strip() == "manifest.json: OK"


@pytest.mark.parametrize("name", ["model.onnx", "reference.json", "manifest.json", "bundle.sha256"])
def test_one_flipped_byte_is_refused_with_file_and_both_hashes(bundle: Bundle, name: str) -> None:
    path = bundle.path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(TidelineError) as caught:
        load_bundle(bundle.path)
    message = str(caught.value)
    assert ("manifest.json" if name == "bundle.sha256" else name) in message
    hashes = [word for word in message.replace(",", " ").replace(".", " ").split() if len(word) == 64]
    assert len(hashes) == 2 and hashes[0] != hashes[1]
    assert "dvc repro" in message


@pytest.mark.parametrize("name", ["model.onnx", "reference.json", "manifest.json", "bundle.sha256"])
def test_missing_and_truncated_files_are_refused_by_name(bundle: Bundle, name: str) -> None:
    path = bundle.path / name
    path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(TidelineError, match=r"bundle .* is broken"):
        load_bundle(bundle.path)
    path.unlink()
    with pytest.raises(TidelineError, match=name):
        load_bundle(bundle.path)


def test_additional_file_and_absent_folder_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    (bundle.path / "weights.bin").write_bytes(b"")
    with pytest.raises(TidelineError, match=r"weights\.bin is not part of it"):
        load_bundle(bundle.path)
    with pytest.raises(TidelineError, match="no bundle at"):
        load_bundle(tmp_path / "nothing")


def test_file_that_breaks_after_loading_is_refused_when_read(bundle: Bundle) -> None:
    (bundle.path / "model.onnx").write_bytes(make_graph(RENT, slope=5.0))
    with pytest.raises(TidelineError, match=r"model\.onnx has sha256"):
        bundle.read("model.onnx")


def test_replaces_what_stood_there_and_leaves_no_temporary(bundle: Bundle) -> None:
    newer = write_bundle(bundle.path, make_graph(RENT, 2.0), bundle.manifest, {"rows": 0})
    assert load_bundle(bundle.path).digest == newer.digest != bundle.digest
    assert [p.name for p in bundle.path.parent.iterdir()] == ["bundle"]


def test_value_that_is_no_json_is_an_error_and_leaves_the_old_bundle(bundle: Bundle) -> None:
    with pytest.raises(TidelineError, match=r"manifest\.json cannot be written as JSON"):
        write_bundle(bundle.path, b"", replace(bundle.manifest, metrics={"x": float("nan")}), {})
    assert load_bundle(bundle.path).digest == bundle.digest


def test_killed_while_writing_leaves_no_half_bundle(bundle: Bundle, tmp_path: Path) -> None:
    # The process dies in the third fsync: two files are written, nothing is renamed.
    code = """
import os, sys
from pathlib import Path
from tideline.bundle import load_bundle, copy_bundle
count, fsync = 0, os.fsync
def die(handle):
    global count
    count += 1
    if count == 3:
        os.kill(os.getpid(), 9)
    fsync(handle)
os.fsync = die
copy_bundle(load_bundle(Path(sys.argv[1])), Path(sys.argv[2]))
"""
    target = tmp_path / "versions" / "copy"
    done = subprocess.run([sys.executable, "-c", code, str(bundle.path), str(target)], capture_output=True)
    assert done.returncode == -9
    assert not target.exists()
    assert copy_bundle(bundle, target).digest == load_bundle(target).digest


def test_finish_refuses_the_figures_of_another_model(layout: Layout, tmp_path: Path) -> None:
    other = Layout("rent", tmp_path)
    shutil.copytree(layout.candidate, other.candidate)
    with pytest.raises(TidelineError, match="evaluate"):
        finish(RENT, small_params(), other)
    write(other.reports / "metrics.json", {"task": "rent", "model": "svm"})
    with pytest.raises(TidelineError, match="svm"):
        finish(RENT, small_params(), other)


def test_unknown_format_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    future = write_bundle(tmp_path / "future", b"", replace(bundle.manifest, format=2), {})
    with pytest.raises(TidelineError, match="format 1"):
        load_bundle(future.path)


def test_sketch_of_numbers_by_hand() -> None:
    sketch = sketch_numbers(np.array([*range(101), np.nan], dtype=np.float64))
    assert sketch["mean"] == 50 and sketch["missing"] == pytest.approx(1 / 102)
    np.testing.assert_allclose(sketch["quantiles"], np.arange(101))
    np.testing.assert_allclose(sketch["edges"], np.arange(5, 100, 5))
    assert sum(sketch["histogram"]) == pytest.approx(1) and sketch["histogram"][0] == pytest.approx(5 / 101)
    tied = sketch_numbers(np.array([1.0] * 99 + [2.0]))
    assert tied["edges"] == [1.0, 2.0, np.nextafter(2.0, 3.0)] and tied["histogram"] == [0.0, 0.99, 0.01, 0.0]
    assert tied["means"] == [None, 1.0, 2.0, None] and tied["deviations"] == [None, 0.0, 0.0, None]
    assert sketch["means"][0] == 2.0 and sketch["deviations"][0] == pytest.approx(np.sqrt(2))
    assert sketch_numbers(np.full(3, np.nan))["mean"] is None
    shares = sketch_categories(np.array(["a", "", "b", "a"], dtype=object))
    assert shares == {"rows": 4, "missing": 0.25, "shares": {"a": 2 / 3, "b": 1 / 3}}


def test_sketch_is_seeded_json_and_gives_its_sample_back() -> None:
    frame = make_frame(900)
    columns = columns_from_frame(PETS, frame)
    target = np.array([PETS.classes.index(p) for p in frame["pet"]])
    chances = np.random.default_rng(0).dirichlet([1, 1, 1], 900)
    first, second = (build_sketch(PETS, columns, target, chances, seed=42) for _ in range(2))
    assert json.dumps(first, allow_nan=False) == json.dumps(second)
    assert first["target"]["shares"]["cat"] == pytest.approx((target == 0).mean())
    sample = sample_columns(PETS, json.loads(json.dumps(first)))
    assert len(sample["size"]) == 500 and np.isnan(sample["size"]).any()
    assert set(sample["kind"]) == {"a", "b", ""}
    rows = {tuple(map(str, row)) for row in zip(*columns.values(), strict=True)}
    assert {tuple(map(str, row)) for row in zip(*sample.values(), strict=True)} <= rows
