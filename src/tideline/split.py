"""Parts the validated rows into training and test rows, and the training rows into folds.

Labelled rows of the log (labelled.py) join the training rows, as far as the chosen history reaches, or a holdout of
their own; the old test rows stay what they were.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pandas as pd

from tideline.contracts import Task, TidelineError
from tideline.data import hash_file
from tideline.labelled import read_snapshot
from tideline.layout import Layout
from tideline.params import Params
from tideline.progress import stage
from tideline.split_labelled import describe_pool, drop_end, pool_rows, set_split
from tideline.split_rows import assign_folds, identify_rows, part_rows, strata

SHARE_TOLERANCE = 0.1  # of hash, and group splits: how far the test share may lie from the one asked for


def split(task: Task, params: Params, layout: Layout) -> None:
    """Write train.parquet, test.parquet, folds.npy and split.json from the raw snapshot; with labelled rows also
    fresh.parquet, a second holdout.

    Raises TidelineError if the raw data was never validated, or if disjointness or the shares do not hold.
    """
    with stage("split", task.name) as log:
        evidence = _read_evidence(task, layout)
        task = set_split(task, params)
        frame = drop_end(pd.read_parquet(layout.raw / "data.parquet"), task, params)
        train_rows, test_rows = part_rows(frame, task)
        shares = check_parts(frame, train_rows, test_rows, task)
        train = frame.iloc[train_rows].reset_index(drop=True)
        test = frame.iloc[test_rows].reset_index(drop=True)
        digest = hash_membership(frame, train_rows, test_rows)
        fresh, labelled = None, {}
        if (snapshot := read_snapshot(layout)) is not None:
            pool = pool_rows(task, params, train, test, snapshot.frame)
            train, fresh = pool.draw(snapshot.history), pool.fresh
            draw = {"seed": params.seed, "share": params.retraining.fresh}
            told = {"sha256": snapshot.sha256, "history": snapshot.history.to_dict(), "draw": draw}
            labelled = {"labelled": {**pool.counts, **told}}
            digest = hash_parts(digest, train, fresh)
            log.say(f"{describe_pool(pool)}; history: {snapshot.history.name}")
        folds = assign_folds(train, task, params.cv.folds, params.seed)
        record = {
            "hash": digest,
            "n_train": len(train),
            "n_test": len(test),
            "kind": task.split.kind,
            "shares": shares,
            "folds": params.cv.folds,
            "data_sha256": evidence["data_sha256"],
            "time_ordered": task.split.kind == "time",
            **labelled,
        }
        _write(layout, train, test, fresh, folds, record)
        log.say(
            f"{len(train):,} training rows, {len(test):,} test rows ({task.split.kind} by {', '.join(task.split.by)})"
        )
        log.say(f"{params.cv.folds} folds; split hash {digest[:12]}; written to {layout.split}")


def check_parts(frame: pd.DataFrame, train: np.ndarray, test: np.ndarray, task: Task) -> dict[str, Any]:
    """Shares of the parts (and of each stratum in the test part), after asserting that they are what was asked for.

    Raises TidelineError if a row lies in both parts or in none, a part is empty, an identifier or group
    lies on both sides, time runs backwards, or a share is off.
    """
    policy, n, place = task.split, len(frame), f"split of {task.name}"
    seen = np.bincount(np.concatenate([train, test]), minlength=n)
    if seen.max(initial=0) > 1 or seen.min(initial=1) < 1:
        raise TidelineError(f"{place}: {int((seen > 1).sum())} rows in both parts, {int((seen < 1).sum())} in none")
    if not len(train) or not len(test):
        raise TidelineError(
            f"{place}: {len(train)} training and {len(test)} test rows; look at Split in tasks/{task.name}.py"
        )
    share = len(test) / n
    shares: dict[str, Any] = {"train": len(train) / n, "test": share}
    if policy.kind == "time":
        key = frame[policy.by[0]].to_numpy()
        if key[train].max() >= key[test].min():
            raise TidelineError(f"{place}: training rows are not all before the test rows")
        return shares
    if policy.kind == "stratified":
        codes = strata(frame, task)
        whole, part = np.bincount(codes), np.bincount(codes[test], minlength=codes.max() + 1)
        off = np.abs(part - whole * policy.test_size)
        if off.max() > 1.0 + 1e-9:
            raise TidelineError(
                f"{place}: stratum {int(off.argmax())} is {off.max():.1f} rows off the share {policy.test_size}"
            )
        shares["strata"] = [round(float(v), 6) for v in whole / n]
        shares["strata_test"] = [round(float(v), 6) for v in part / len(test)]
        return shares
    labels = identify_rows(frame, policy.by)
    both = set(labels[train]) & set(labels[test])
    if both:
        raise TidelineError(f"{place}: {len(both)} identifiers lie in both parts, such as {sorted(both)[0]!r}")
    tolerance = max(SHARE_TOLERANCE, 5 * np.sqrt(policy.test_size * (1 - policy.test_size) / len(set(labels))))
    if abs(share - policy.test_size) > tolerance:
        raise TidelineError(
            f"{place}: {share:.1%} of the rows are test rows, asked for {policy.test_size:.0%}; "
            f"the {len(set(labels))} values of {', '.join(policy.by)} are too few or too unequal"
        )
    return shares


def hash_membership(frame: pd.DataFrame, train: np.ndarray, test: np.ndarray) -> str:
    """sha256 over which rows (by content) lie in which part; the order of the rows does not matter."""
    identity = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    digest = hashlib.sha256()
    for name, rows in (("train", train), ("test", test)):
        digest.update(f"{name}:{len(rows)}:{','.join(frame.columns)}:".encode())
        digest.update(np.sort(identity[rows]).astype("<u8").tobytes())
    return digest.hexdigest()


def hash_parts(digest: str, train: pd.DataFrame, fresh: pd.DataFrame) -> str:
    """sha256 over the membership of the raw rows and over which rows are learnt from and freshly held out."""
    parts = pd.concat([train, fresh], ignore_index=True)
    rows = np.arange(len(parts))
    membership = hash_membership(parts, rows[: len(train)], rows[len(train) :])
    return hashlib.sha256(f"{digest}:{membership}".encode()).hexdigest()


def _read_evidence(task: Task, layout: Layout) -> dict[str, Any]:
    path = layout.validation / "validation.json"
    if not path.is_file():
        raise TidelineError(f"no {path}: the raw data has not passed validation; run `tideline validate {task.name}`")
    evidence: dict[str, Any] = json.loads(path.read_text())
    if hash_file(layout.raw / "data.parquet") != evidence["data_sha256"]:
        raise TidelineError(f"{path} speaks of other data than {layout.raw} holds; run `tideline validate {task.name}`")
    return evidence


def _write(
    layout: Layout,
    train: pd.DataFrame,
    test: pd.DataFrame,
    fresh: pd.DataFrame | None,
    folds: np.ndarray,
    record: dict[str, Any],
) -> None:
    frames = {"train.parquet": train, "test.parquet": test}
    if fresh is not None:
        frames["fresh.parquet"] = fresh
    layout.split.mkdir(parents=True, exist_ok=True)
    names = (*frames, "folds.npy", "split.json")
    parts = {name: layout.split / f".{name}.part" for name in names}
    for name, frame in frames.items():
        frame.to_parquet(parts[name], index=False)
    with parts["folds.npy"].open("wb") as file:
        np.save(file, folds)
    parts["split.json"].write_text(json.dumps(record, indent=2) + "\n")
    for name, path in parts.items():
        path.replace(layout.split / name)
    if fresh is None:
        (layout.split / "fresh.parquet").unlink(missing_ok=True)
