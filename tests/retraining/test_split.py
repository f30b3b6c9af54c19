"""Labelled rows in the split: old parts untouched, a stable fresh holdout, nothing that tells what is tested."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.retraining.homes import FIRST, FLATS, HOMES, make_homes
from tests.small_task import small_params
from tideline.contracts import Task, TidelineError
from tideline.data import hash_file
from tideline.data_frame import column_names
from tideline.history_rows import History
from tideline.labelled import ID, TIME, write_snapshot
from tideline.layout import Layout
from tideline.params import Params, SplitOverrides
from tideline.split import split
from tideline.split_labelled import pool_rows

PARAMS = small_params()
CUT = "1997-08-28"  # day 101 of the homes
OLD = make_homes(130, 10)
NEW = make_homes(100, 10, first=FIRST + 130, seed=5)
ALL = History()


def prepare(root: Path, task: Task, frame: pd.DataFrame) -> Layout:
    layout = Layout(task.name, root)
    layout.raw.mkdir(parents=True)
    frame[column_names(task)].to_parquet(layout.raw / "data.parquet", index=False)
    layout.validation.mkdir(parents=True)
    evidence = {"data_sha256": hash_file(layout.raw / "data.parquet")}
    (layout.validation / "validation.json").write_text(json.dumps(evidence))
    return layout


def label(frame: pd.DataFrame) -> pd.DataFrame:
    numbers = np.arange(len(frame))
    ids = pd.Series([f"{i:020d}" for i in numbers], dtype="str")
    return frame.reset_index(drop=True).assign(**{TIME: numbers * 1_000_000, ID: ids})


def put(layout: Layout, frame: pd.DataFrame, history: History = ALL) -> None:
    write_snapshot(layout, label(frame), {"rows": len(frame)}, history.to_dict())


def digests(layout: Layout) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in layout.split.iterdir()}


def cut_at(day: str, **ends: str) -> Params:
    return replace(PARAMS, split=SplitOverrides({"homes": day}, ends))


@pytest.mark.parametrize("task", [HOMES, FLATS], ids=lambda t: t.name)
def test_without_labelled_rows_nothing_changes_and_the_old_holdout_never_does(task: Task, tmp_path: Path) -> None:
    layout = prepare(tmp_path, task, OLD)
    params = cut_at(CUT)
    split(task, params, layout)
    before, record = digests(layout), json.loads((layout.split / "split.json").read_text())
    assert "fresh.parquet" not in before and "labelled" not in record
    put(layout, NEW)
    split(task, params, layout)
    after = digests(layout)
    assert after["test.parquet"] == before["test.parquet"] and after["train.parquet"] != before["train.parquet"]
    told = json.loads((layout.split / "split.json").read_text())
    assert told["hash"] != record["hash"] and told["labelled"]["rows"] == len(NEW)
    for file in layout.labelled.iterdir():
        file.unlink()
    split(task, params, layout)
    assert digests(layout) == before


def test_known_split_hash_of_bikes_stays(tmp_path: Path, data_dir: Path) -> None:
    from tideline.catalog import get_task
    from tideline.data_frame import conform

    task = get_task("bikes")
    assert task.source.read is not None
    layout = prepare(tmp_path, task, conform(task, task.source.read(data_dir / "bikes_hour.csv")))
    split(task, PARAMS, layout)
    digest = json.loads((layout.split / "split.json").read_text())["hash"]
    assert digest == "fbdf8ccc01bd7b6394bdef3f974afac31fffcebf8751e65c81b4cf2cb2754ca8"


def test_days_are_held_out_as_a_whole_and_for_ever(tmp_path: Path) -> None:
    params = cut_at(CUT)
    base, held = OLD[OLD["day"] < FIRST + 101], OLD[OLD["day"] >= FIRST + 101]
    pools = [pool_rows(HOMES, params, base, held, label(NEW[: 10 * days])) for days in (40, 70, 100)]
    for pool in pools:
        assert not set(pool.fresh["day"]) & set(pool.frame["day"])
        assert (np.diff(pool.times) >= 0).all() and len(pool.frame) == len(pool.times) == len(pool.chances)
        assert 0.08 < len(pool.fresh) / (pool.counts["rows"]) < 0.35
    for early, late in pairwise(pools):
        days = set(early.fresh["day"])
        assert not days & set(late.frame["day"])
        assert set(early.frame["day"]) <= set(late.frame["day"])
    assert pools[2].counts["retired"] == 10 * len({d for d in pools[0].fresh["day"] if d <= FIRST + 229 - 92})


def test_share_is_held_out_by_content_whatever_the_order(tmp_path: Path) -> None:
    base, held = OLD[:1000], OLD[1000:]
    rows = label(NEW)
    one = pool_rows(FLATS, PARAMS, base, held, rows)
    other = pool_rows(FLATS, PARAMS, base, held, rows.sample(frac=1, random_state=1).reset_index(drop=True))
    assert set(one.fresh["price"]) == set(other.fresh["price"])
    assert one.counts == other.counts
    assert 0.15 < one.counts["fresh"] / one.usable < 0.25


def test_rows_that_stand_in_a_part_already_are_left_out() -> None:
    base, held = OLD[:1000].reset_index(drop=True), OLD[1000:].reset_index(drop=True)
    replayed = pd.concat([NEW[:50], held[:30].assign(price=1.0), base[:20]], ignore_index=True)
    pool = pool_rows(HOMES, PARAMS, base, held, label(replayed))
    assert (pool.counts["in_old_holdout"], pool.counts["in_training"], pool.usable) == (30, 20, 50)
    assert len(pool.frame) + len(pool.fresh) + pool.counts["retired"] == 1000 + 50


def test_history_draws_the_training_rows_and_folds_follow_time(tmp_path: Path) -> None:
    layout = prepare(tmp_path, HOMES, OLD)
    put(layout, NEW, History("window", 60.0))
    split(HOMES, cut_at(CUT), layout)
    train = pd.read_parquet(layout.split / "train.parquet")
    folds = np.load(layout.split / "folds.npy")
    assert train["day"].min() >= train["day"].max() - 60 and (np.diff(train["day"]) >= 0).all()
    assert set(folds) == {-1, 0, 1, 2, 3, 4} and (np.diff(folds) >= 0).all()
    record = json.loads((layout.split / "split.json").read_text())
    assert record["n_train"] == len(train) and record["labelled"]["history"]["name"] == "last 60 days"


def test_a_cut_and_an_end_in_params_are_taken(tmp_path: Path) -> None:
    layout = prepare(tmp_path, HOMES, OLD)
    split(HOMES, cut_at("1997-07-19", homes=CUT), layout)  # days 61 and 101
    train, test = (pd.read_parquet(layout.split / f"{name}.parquet") for name in ("train", "test"))
    assert (len(train), len(test)) == (610, 400)
    assert test["day"].max() == FIRST + 100
    with pytest.raises(TidelineError, match="no order in time"):
        split(FLATS, replace(PARAMS, split=SplitOverrides({}, {"flats": CUT})), prepare(tmp_path, FLATS, OLD))
