"""Files scored by real bundles: what is kept, what is added, what is refused, and how much memory it takes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from tests.peak_memory import PEAK
from tests.serving.real_server import ROOT, clean_environment
from tests.serving.small_bundle import CLASSES, ROW, expected_value, write_small_bundle
from tests.serving.toy_registry import ToyRegistry
from tideline.bundle import Bundle
from tideline.cli import main
from tideline.contracts import TidelineError
from tideline.predict_file import BATCH_ROWS, predict_file
from tideline.progress import Bar

SIZE = BATCH_ROWS + 500  # more than a batch
ROWS = [
    {"house": f"h{i}", **ROW, "income": 1 + i % 900 / 100, "bed rooms": None if i % 3 else 2, "owner": None}
    for i in range(SIZE)
]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_small_bundle(tmp_path_factory.mktemp("regression") / "bundle")


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    table = pa.Table.from_pylist(rows)
    csv.write_csv(table, path) if path.suffix == ".csv" else pq.write_table(table, path)
    return path


def read(path: Path) -> pa.Table:
    return csv.read_csv(path) if path.suffix == ".csv" else pq.read_table(path)


@pytest.mark.parametrize("source", ["in.csv", "in.parquet"])
@pytest.mark.parametrize("out", ["out.csv", "out.parquet"])
def test_regression(bundle: Bundle, tmp_path: Path, source: str, out: str) -> None:
    told: list[int] = []
    scored = predict_file(bundle, "v7", write(tmp_path / source, ROWS), tmp_path / out, 2, progress=told.append)
    assert (scored.rows, scored.rejected, sum(told)) == (SIZE, 0, SIZE) and len(told) >= 2
    table = read(tmp_path / out)
    assert table["house"].to_pylist() == [row["house"] for row in ROWS]
    assert table["income"].to_pylist() == [row["income"] for row in ROWS]
    expected = [expected_value(row) for row in ROWS]
    np.testing.assert_allclose(table["prediction"], expected, rtol=1e-6)
    np.testing.assert_allclose(table["upper_0.95"].to_numpy() - table["lower_0.95"].to_numpy(), 18, rtol=1e-6)
    assert set(table["model_version"].to_pylist()) == {"v7"}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([source, out])
    if out.endswith("parquet"):
        metadata = table.schema.metadata
        assert (metadata[b"version"], metadata[b"digest"].decode()) == (b"v7", bundle.digest)
        assert table["bed rooms"].null_count == sum(row["bed rooms"] is None for row in ROWS)


def test_classification(tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path / "bundle", "classification")
    predict_file(bundle, "v7", write(tmp_path / "in.parquet", ROWS[:50]), tmp_path / "out.parquet")
    table = read(tmp_path / "out.parquet")
    assert set(table["prediction"].to_pylist()) <= set(CLASSES)
    shares = np.column_stack([table[f"probability_{name}"] for name in CLASSES])
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    pairs = zip(table["prediction"].to_pylist(), table["set_0.8"].to_pylist(), strict=True)
    assert all(name in chosen for name, chosen in pairs)
    predict_file(bundle, "v7", tmp_path / "in.parquet", tmp_path / "out.csv")
    assert [json.loads(text) for text in read(tmp_path / "out.csv")["set_0.8"].to_pylist()] == table[
        "set_0.8"
    ].to_pylist()


def test_a_bad_row_stops_it_and_nothing_is_left(bundle: Bundle, tmp_path: Path) -> None:
    rows = [*ROWS[:-3], {**ROWS[0], "income": 99.5}, *ROWS[:2]]
    for name in ("in.csv", "in.parquet"):
        with pytest.raises(
            TidelineError, match=rf"{name}, row {SIZE - 2}: column income: expected a number from 0.5 to"
        ):
            predict_file(bundle, "v7", write(tmp_path / name, rows), tmp_path / "out.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "in.parquet"]


@pytest.mark.parametrize("name", ["in.csv", "in.parquet"])
def test_rows_may_be_set_aside(bundle: Bundle, tmp_path: Path, name: str) -> None:
    bad = {3: {"income": 99.5}, 4: {"sea": "moon"}, SIZE - 1: {"built": "1990-02-30"}, 777: {"élan (m/s)": 1e300}}
    rows = [{**row, **bad.get(i, {})} for i, row in enumerate(ROWS)]
    rejects = tmp_path / "rejects.csv"
    scored = predict_file(bundle, "v7", write(tmp_path / name, rows), tmp_path / "out.parquet", 1, rejects)
    assert (scored.rows, scored.rejected) == (SIZE - 4, 4)
    kept = read(tmp_path / "out.parquet")["house"].to_pylist()
    assert kept == [row["house"] for i, row in enumerate(ROWS) if i not in bad]
    aside = read(rejects)
    assert aside["rejected_row"].to_pylist() == [i + 1 for i in sorted(bad)]
    assert aside["house"].to_pylist() == [f"h{i}" for i in sorted(bad)]
    reasons = aside["rejected_because"].to_pylist()
    for reason, said in zip(reasons, ("income", "sea", "out of range", "1990-02-30"), strict=True):
        assert said in reason


def test_numbers_that_are_none_can_be_set_aside(bundle: Bundle, tmp_path: Path) -> None:
    text = write(tmp_path / "in.csv", ROWS[:10]).read_text().replace("1.04", "abc")
    (tmp_path / "in.csv").write_text(text)
    scored = predict_file(bundle, "v7", tmp_path / "in.csv", tmp_path / "o.csv", 1, tmp_path / "r.parquet")
    assert (scored.rows, scored.rejected) == (9, 1)
    assert read(tmp_path / "r.parquet")["income"].to_pylist() == ["abc"]
    predict_file(bundle, "v7", write(tmp_path / "good.csv", ROWS[:9]), tmp_path / "o.csv", 1, tmp_path / "r.parquet")
    assert read(tmp_path / "r.parquet").num_rows == 0  # it says that there were none


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "in.csv cannot be read as csv: Empty CSV file"),
        (b"income,sea\n1,inland", "rooms is required; it holds income, sea"),
        (b"income,income\n1,1", "the column 'income' comes twice"),
        (b"income,sea\n\xff,1\n", "cannot be read as csv: .*invalid UTF8"),
        (",".join(ROW).encode() + b",prediction\n", "would be added: prediction; rename"),
        (",".join(ROW).encode() + b"\n", "holds no rows"),
        (",".join(ROW).encode() + b"\n1,2\n", "Expected 7 columns, got 2"),
    ],
)
def test_files_that_cannot_be_scored(bundle: Bundle, tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "in.csv").write_bytes(content)
    with pytest.raises(TidelineError, match=said):
        predict_file(bundle, "v7", tmp_path / "in.csv", tmp_path / "out.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_places_that_will_not_do(bundle: Bundle, tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", ROWS[:3])
    for file, out, rejects, said in (
        (source, tmp_path / "out.json", None, "neither .csv nor .parquet"),
        (source, source, None, "is the file that is read"),
        (source, tmp_path / "a.csv", tmp_path / "a.csv", "name two files"),
        (tmp_path / "none.csv", tmp_path / "a.csv", None, "no file"),
        (source, Path("/proc/none/a.csv"), None, "cannot be written"),
    ):
        with pytest.raises(TidelineError, match=said):
            predict_file(bundle, "v7", file, out, 1, rejects)
    wrong = pa.table({name: [True] for name in ROW})
    pq.write_table(wrong, tmp_path / "in.parquet")
    with pytest.raises(TidelineError, match=r"column income: expected a number.*type bool"):
        predict_file(bundle, "v7", tmp_path / "in.parquet", tmp_path / "a.csv")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ToyRegistry]:
    registry = ToyRegistry(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    yield registry


def test_the_verb_finds_the_only_champion(project: ToyRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("in.csv"), ROWS[:5])
    assert main(["predict", "in.csv", "-o", "out.parquet"]) == 0
    assert f"5 rows by toy by_hand {project.versions[0]} in out.parquet" in capsys.readouterr().out
    assert main(["predict", "in.csv", "-o", "out.parquet", "--version", "v0002", "--rejects", "r.csv"]) == 0
    table = read(Path("out.parquet"))
    assert set(table["model_version"].to_pylist()) == {project.versions[1]}
    assert table["prediction"][0].as_py() == pytest.approx(expected_value(ROWS[0]) + 1000)
    (project.home / "registry" / "bikes").mkdir()
    shutil.copy(project.layout.registry / "champion.json", project.home / "registry" / "bikes")
    assert main(["predict", "in.csv", "-o", "out.parquet"]) == 1
    assert "champions of bikes, toy; say which is meant: --task bikes" in capsys.readouterr().err
    assert main(["predict", "in.csv", "-o", "out.parquet", "--task", "toy"]) == 0


def test_the_verb_tells_how_far_it_is_and_what_it_did(
    project: ToyRegistry, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bar.__init__, "__defaults__", (0.0,))  # a line a batch, not one in five seconds
    write(Path("in.parquet"), [*ROWS[:-1], {**ROWS[-1], "sea": "far away"}])
    assert main(["predict", "in.parquet", "-o", "out.parquet", "--rejects", "bad.parquet"]) == 0
    said = capsys.readouterr()
    progress = [line.split(" after ")[0] for line in said.err.splitlines()]
    assert progress == ["    rows: 16,384/16,884", "    rows: 16,884/16,884"]
    assert said.out.splitlines() == [
        f"16,883 rows by toy by_hand {project.versions[0]} in out.parquet",
        "1 rows were set aside in bad.parquet, with the reason",
    ]


MEASURE = f"""{PEAK}
import sys
from pathlib import Path
from tideline.bundle import load_bundle
from tideline.predict_file import predict_file
bundle, source, out = map(Path, sys.argv[1:])
print(predict_file(load_bundle(bundle), "v1", source, out).rows)
print(peak() // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_memory_does_not_grow_with_the_file(bundle: Bundle, tmp_path: Path, suffix: str) -> None:
    table = pa.Table.from_pylist(ROWS[:10_000])
    peaks = []
    for copies in (10, 100):
        source = tmp_path / f"in{copies}.{suffix}"
        if suffix == "csv":
            with csv.CSVWriter(source, table.schema) as writer:
                for _ in range(copies):
                    writer.write_table(table)
        else:
            with pq.ParquetWriter(source, table.schema) as writer:
                for _ in range(copies // 10):
                    writer.write_table(pa.concat_tables([table] * 10))
        command = [sys.executable, "-c", MEASURE, str(bundle.path), str(source), str(tmp_path / f"out.{suffix}")]
        done = subprocess.run(command, env=clean_environment(tmp_path), capture_output=True, text=True, check=True)
        rows, peak = map(int, done.stdout.split())
        assert rows == 10_000 * copies
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 100, f"MB for 100,000 and 1,000,000 rows: {peaks}"
    assert peaks[1] < 600
