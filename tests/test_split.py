"""The split: the book's rows, disjointness, shares, stability, folds."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tideline.catalog import get_task
from tideline.contracts import Column, Source, Split, Task, TidelineError
from tideline.data import fetch, hash_file
from tideline.layout import Layout
from tideline.params import load_params
from tideline.split import check_parts, hash_membership, split
from tideline.split_rows import assign_folds, part_rows

PARAMS = load_params(Path(__file__).parents[1] / "params.yaml")
SEEDS = st.integers(0, 2**32 - 1)


def make_task(policy: Split) -> Task:
    columns = (Column("id", "integer"), Column("day", "date"), Column("size", "number"), Column("kind", "category"))
    return Task(
        name="small",
        title="Small",
        problem="regression",
        source=Source(),
        columns=columns,
        target=Column("y", "number"),
        split=policy,
        features=(),
    )


def make_rows(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": rng.permutation(n).astype(float),
            "day": rng.integers(15_000, 15_400, n).astype(float),
            "size": rng.lognormal(size=n),
            "kind": pd.Series(rng.choice(["a", "b", "c"], n), dtype="str"),
            "y": rng.normal(size=n),
        }
    )


POLICIES = (
    Split("stratified", by=("kind",), test_size=0.25),
    Split("stratified", by=("size",), bins=(0, 0.5, 1.0, inf), test_size=0.2),
    Split("hash", by=("id",), test_size=0.2),
    Split("group", by=("day",), test_size=0.3),
    Split("time", by=("day",), cut="2011-10-01"),
)


def test_housing_is_the_books_split(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.model_selection import train_test_split

    monkeypatch.setenv("TIDELINE_DATA_DIR", str(data_dir))
    task, layout = get_task("housing"), Layout("housing", tmp_path)
    fetch(task, PARAMS, layout, "folder")
    layout.validation.mkdir(parents=True)
    evidence = {"data_sha256": hash_file(layout.raw / "data.parquet")}
    (layout.validation / "validation.json").write_text(json.dumps(evidence))
    split(task, PARAMS, layout)

    book = pd.read_csv(data_dir / "housing.csv")
    category = pd.cut(book["median_income"], bins=[0.0, 1.5, 3.0, 4.5, 6.0, np.inf], labels=[1, 2, 3, 4, 5])
    train, test = train_test_split(book, test_size=0.2, stratify=category, random_state=42)
    for name, wanted in (("train", train), ("test", test)):
        got = pd.read_parquet(layout.split / f"{name}.parquet")
        wanted = wanted.reset_index(drop=True)[list(got.columns)]
        pd.testing.assert_frame_equal(got, wanted, check_dtype=False)
        assert isinstance(got.index, pd.RangeIndex)
    assert (len(train), len(test)) == (16_512, 4_128)
    record = json.loads((layout.split / "split.json").read_text())
    assert np.allclose(record["shares"]["strata"], [0.0398, 0.3188, 0.3506, 0.1763, 0.1144], atol=6e-5)
    assert np.allclose(record["shares"]["strata_test"], record["shares"]["strata"], atol=2e-4)
    folds = np.load(layout.split / "folds.npy")
    assert folds.dtype == np.int8 and folds.shape == (16_512,)
    assert np.bincount(folds).min() >= 3_302
    files = {path.name: path.read_bytes() for path in layout.split.iterdir()}
    assert set(files) == {"train.parquet", "test.parquet", "folds.npy", "split.json"}
    split(task, PARAMS, layout)
    assert files == {path.name: path.read_bytes() for path in layout.split.iterdir()}


def test_split_asks_for_evidence_of_these_very_data(tmp_path: Path) -> None:
    task, layout = make_task(POLICIES[0]), Layout("small", tmp_path)
    layout.raw.mkdir(parents=True)
    make_rows(100, 0).to_parquet(layout.raw / "data.parquet")
    with pytest.raises(TidelineError, match=r"not passed validation; run `tideline validate small`"):
        split(task, PARAMS, layout)
    layout.validation.mkdir(parents=True)
    (layout.validation / "validation.json").write_text(json.dumps({"data_sha256": "0"}))
    with pytest.raises(TidelineError, match="speaks of other data"):
        split(task, PARAMS, layout)
    assert not layout.split.exists()


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: f"{p.kind}-{p.by[0]}")
@settings(max_examples=15, deadline=None)
@given(n=st.integers(200, 900), seed=SEEDS)
def test_every_row_lies_in_one_part_and_one_fold(policy: Split, n: int, seed: int) -> None:
    frame, task = make_rows(n, seed), make_task(policy)
    train, test = part_rows(frame, task)
    assert sorted([*train, *test]) == list(range(n))
    shares = check_parts(frame, train, test, task)
    assert shares["train"] + shares["test"] == pytest.approx(1)
    rows = frame.iloc[train].reset_index(drop=True)
    folds = assign_folds(rows, task, 4, seed)
    assert folds.dtype == np.int8 and len(folds) == len(train)
    assert set(folds) == ({-1, 0, 1, 2, 3} if policy.kind == "time" else {0, 1, 2, 3})
    if policy.kind == "time":
        assert (np.diff(rows["day"]) >= 0).all()
        for fold in range(4):
            assert rows["day"][folds < fold].max() < rows["day"][folds == fold].min()
    if policy.kind == "group":
        assert rows.groupby("day").size().sum() == len(rows)
        assert (pd.Series(folds).groupby(rows["day"]).nunique() == 1).all()


@settings(max_examples=25, deadline=None)
@given(n=st.integers(50, 400), more=st.integers(1, 200), seed=SEEDS)
def test_hash_split_is_stable_when_rows_are_appended_or_shuffled(n: int, more: int, seed: int) -> None:
    frame, task = make_rows(n + more, seed), make_task(Split("hash", by=("id", "kind"), test_size=0.3))
    _, before = part_rows(frame.iloc[:n], task)
    _, after = part_rows(frame, task)
    assert set(before) == {row for row in after if row < n}
    shuffled = frame.sample(frac=1, random_state=seed % 1000)
    _, moved = part_rows(shuffled, task)
    assert set(shuffled.iloc[moved]["id"]) == set(frame.iloc[after]["id"])


def test_identifiers_do_not_run_together() -> None:
    frame = pd.DataFrame({"a": ["1", "12"], "b": ["23", "3"]}, dtype="str")
    from tideline.split_rows import identify_rows

    assert len(set(identify_rows(frame, ("a", "b")))) == 2


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_membership_hash_ignores_order_and_sees_a_moved_row(seed: int) -> None:
    frame = make_rows(300, seed)
    train, test = part_rows(frame, make_task(POLICIES[0]))
    digest = hash_membership(frame, train, test)
    assert digest == hash_membership(frame, train[::-1], np.sort(test))
    assert digest != hash_membership(frame, train[1:], np.append(test, train[0]))
    changed = frame.assign(size=frame["size"] + (frame.index == train[0]))
    assert digest != hash_membership(changed, train, test)


def test_checks_name_what_is_wrong() -> None:
    frame = make_rows(200, 1)
    rows = np.arange(200)
    stratified, hashed, timed = make_task(POLICIES[0]), make_task(POLICIES[2]), make_task(POLICIES[4])
    with pytest.raises(TidelineError, match="1 rows in both parts, 0 in none"):
        check_parts(frame, rows[:151], rows[150:], stratified)
    with pytest.raises(TidelineError, match="0 rows in both parts, 1 in none"):
        check_parts(frame, rows[:149], rows[150:], stratified)
    with pytest.raises(TidelineError, match="200 training and 0 test rows"):
        check_parts(frame, rows, rows[:0], stratified)
    with pytest.raises(TidelineError, match=r"stratum \d is .* rows off the share 0.25"):
        check_parts(frame.sort_values("kind", ignore_index=True), rows[:150], rows[150:], stratified)
    with pytest.raises(TidelineError, match="1 identifiers lie in both parts"):
        check_parts(frame.assign(id=np.where(rows < 2, 7.0, frame["id"] + 10)), rows[1:], rows[:1], hashed)
    with pytest.raises(TidelineError, match=r"75.0% of the rows are test rows, asked for 20%"):
        check_parts(frame, rows[:50], rows[50:], hashed)
    with pytest.raises(TidelineError, match="not all before the test rows"):
        check_parts(frame, rows[:100], rows[100:], timed)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (Split("stratified", by=("sise",)), "no column 'sise' in the data; known: id, day, size"),
        (Split("stratified", by=("size",), bins=(5, 6)), "lie in no stratum .* widen Split.bins"),
        (Split("stratified", by=("y",)), "least populated class"),
        (Split("time", by=("day",), cut="last summer"), "Split.cut 'last summer' does not fit column 'day'"),
    ],
)
def test_a_wrong_policy_says_so(policy: Split, message: str) -> None:
    with pytest.raises(TidelineError, match=message):
        part_rows(make_rows(200, 2), make_task(policy))


def test_too_many_folds_say_so() -> None:
    frame = make_rows(100, 3).sort_values("day", ignore_index=True)
    for policy, changes, message in (
        (POLICIES[0], {}, "cv.folds is 1000"),
        (POLICIES[3], {"day": 1.0}, "1 groups cannot make 4 folds"),
        (POLICIES[4], {"day": 1.0}, "too few moments in time for 4 folds"),
    ):
        folds = 1000 if not changes else 4
        with pytest.raises(TidelineError, match=message):
            assign_folds(frame.assign(**changes), make_task(policy), folds, 42)


def test_bikes_trains_on_2011(data_dir: Path) -> None:
    task = get_task("bikes")
    assert task.source.read is not None
    frame = task.source.read(data_dir / "bikes_hour.csv")
    train, test = part_rows(frame, task)
    assert (len(train), len(test)) == (8_645, 8_734)
    assert set(frame["yr"].iloc[train]) == {0} and set(frame["yr"].iloc[test]) == {1}
    assert not {"casual", "registered", "instant", "yr"} & {c.name for c in (*task.columns, *task.extra)}
    check_parts(frame, train, test, replace(task))
