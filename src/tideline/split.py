"""Parts the validated rows into training and test rows, and the training rows into folds."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pandas as pd

from tideline.contracts import Split, Task, TidelineError
from tideline.layout import Layout
from tideline.params import Params
from tideline.progress import stage

SHARE_TOLERANCE = 0.1  # of hash, and group splits: how far the test share may lie from the one asked for


def split(task: Task, params: Params, layout: Layout) -> None:
    """Write train.parquet, test.parquet, folds.npy and split.json from the raw snapshot.

    Raises TidelineError if the raw data was never validated, or if disjointness or the shares do not hold.
    """
    with stage("split", task.name) as log:
        evidence = _read_evidence(task, layout)
        frame = pd.read_parquet(layout.raw / "data.parquet")
        train_rows, test_rows = part_rows(frame, task)
        shares = check_parts(frame, train_rows, test_rows, task)
        train = frame.iloc[train_rows].reset_index(drop=True)
        test = frame.iloc[test_rows].reset_index(drop=True)
        folds = assign_folds(train, task, params.cv.folds, params.seed)
        digest = hash_membership(frame, train_rows, test_rows)
        record = {
            "hash": digest,
            "n_train": len(train),
            "n_test": len(test),
            "kind": task.split.kind,
            "shares": shares,
            "folds": params.cv.folds,
            "data_sha256": evidence["data_sha256"],
            "time_ordered": task.split.kind == "time",
        }
        _write(layout, train, test, folds, record)
        log.say(f"{len(train):,} training rows, {len(test):,} test rows ({task.split.kind} by {', '.join(task.split.by)})")
        log.say(f"{params.cv.folds} folds; split hash {digest[:12]}; written to {layout.split}")


def part_rows(frame: pd.DataFrame, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Positions (int64) of training and test rows. A time split returns them in time order."""
    policy = task.split
    for name in policy.by:
        if name not in frame:
            raise TidelineError(f"split of {task.name}: no column {name!r} in the data; known: {', '.join(frame.columns)}")
    n = len(frame)
    if policy.kind == "stratified":
        return _part_stratified(frame, task)
    if policy.kind == "time":
        order = np.lexsort([frame[name].to_numpy() for name in reversed(policy.by)])
        late = frame[policy.by[0]].to_numpy()[order] >= _cut(task)
        return order[~late], order[late]
    in_test = _test_by_hash(frame, policy) if policy.kind == "hash" else _test_by_group(frame, policy)
    rows = np.arange(n)
    return rows[~in_test], rows[in_test]


def assign_folds(train: pd.DataFrame, task: Task, folds: int, seed: int) -> np.ndarray:
    """For each training row the number of the fold in which it is validated; -1 if never. int8 (n_train,).

    stratified and hash: shuffled k-fold (in the same strata). group: a group lies in one fold. time:
    folds + 1 blocks in time; fold i validates block i + 1, the first is only ever trained on.
    """
    from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold

    policy, n = task.split, len(train)
    if not 2 <= folds <= min(n, 100):
        raise TidelineError(f"params.yaml: cv.folds is {folds}; {task.name} takes 2 to {min(n, 100)}")
    if policy.kind == "time":
        return _blocks(train[policy.by[0]].to_numpy(), folds, task.name)
    parts: Any
    if policy.kind == "group":
        groups = _labels(train, policy.by)
        if len(set(groups)) < folds:
            raise TidelineError(f"split of {task.name}: {len(set(groups))} groups cannot make {folds} folds")
        parts = GroupKFold(folds).split(train, groups=groups)
    elif policy.kind == "stratified":
        parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(train, strata(train, task))
    else:
        parts = KFold(folds, shuffle=True, random_state=seed).split(train)
    result = np.full(n, -1, dtype=np.int8)
    for number, (_, rows) in enumerate(parts):
        result[rows] = number
    return result


def strata(frame: pd.DataFrame, task: Task) -> np.ndarray:
    """Stratum number (int64) of each row: the value of the `by` column, or its bin.

    Raises TidelineError if a value lies in no bin or is missing.
    """
    policy, name = task.split, task.split.by[0]
    values = frame[name]
    codes = pd.cut(values, list(policy.bins), labels=False) if policy.bins else pd.factorize(values, sort=True)[0]
    numbers = np.asarray(codes, dtype=float)
    outside = np.isnan(numbers) | (numbers < 0)
    if outside.any():
        examples = ", ".join(map(repr, values[outside].head(3).tolist()))
        raise TidelineError(
            f"split of {task.name}: {outside.sum()} values of {name!r} lie in no stratum ({examples}); "
            f"widen Split.bins {policy.bins} in tasks/{task.name}.py or clean the data"
        )
    return numbers.astype(np.int64)


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
        raise TidelineError(f"{place}: {len(train)} training and {len(test)} test rows; look at Split in tasks/{task.name}.py")
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
            raise TidelineError(f"{place}: stratum {int(off.argmax())} is {off.max():.1f} rows off the share {policy.test_size}")
        shares["strata"] = [round(float(v), 6) for v in whole / n]
        shares["strata_test"] = [round(float(v), 6) for v in part / len(test)]
        return shares
    labels = _labels(frame, policy.by)
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


def _part_stratified(frame: pd.DataFrame, task: Task) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.model_selection import train_test_split

    policy = task.split
    try:
        train, test = train_test_split(
            np.arange(len(frame)), test_size=policy.test_size, stratify=strata(frame, task), random_state=policy.seed
        )
    except ValueError as error:
        raise TidelineError(f"split of {task.name} by {policy.by[0]!r}: {error}") from error
    return train, test


def _labels(frame: pd.DataFrame, by: tuple[str, ...]) -> np.ndarray:
    """One text an identifier: the values of the `by` columns, each with its length so that none run together."""
    columns = [frame[name].map(repr if frame[name].dtype.kind == "f" else str) for name in by]
    return np.array(["".join(f"{len(v)}:{v}" for v in row) for row in zip(*columns, strict=True)], dtype=object)


def _uniform(labels: np.ndarray, seed: int) -> np.ndarray:
    """A number in [0, 1) a label, by its hash and the seed alone."""
    key = str(seed).encode()
    known = {v: int.from_bytes(hashlib.blake2b(v.encode(), digest_size=8, key=key).digest()) for v in set(labels)}
    return np.array([known[v] for v in labels], dtype=np.float64) / 2.0**64


def _test_by_hash(frame: pd.DataFrame, policy: Split) -> np.ndarray:
    return _uniform(_labels(frame, policy.by), policy.seed) < policy.test_size


def _test_by_group(frame: pd.DataFrame, policy: Split) -> np.ndarray:
    """Groups in the order of their hashes, each taken if that brings the test rows nearer to their share."""
    labels = _labels(frame, policy.by)
    values, codes, sizes = np.unique(labels.astype(str), return_inverse=True, return_counts=True)
    wanted, taken = policy.test_size * len(labels), 0
    chosen = np.zeros(len(values), dtype=bool)
    for group in np.argsort(_uniform(values.astype(object), policy.seed), kind="stable"):
        if abs(taken + sizes[group] - wanted) < abs(taken - wanted):
            chosen[group] = True
            taken += sizes[group]
    return np.asarray(chosen[codes], dtype=bool)


def _cut(task: Task) -> float:
    name = task.split.by[0]
    kind = next((c.kind for c in (*task.columns, *task.extra) if c.name == name), "number")
    try:
        return float((np.datetime64(task.split.cut, "D")).astype(int)) if kind == "date" else float(task.split.cut)
    except ValueError as error:
        raise TidelineError(f"tasks/{task.name}.py: Split.cut {task.split.cut!r} does not fit column {name!r}: {error}") from error


def _blocks(key: np.ndarray, folds: int, name: str) -> np.ndarray:
    """Blocks of about equal size in time; rows of one moment stay in one block."""
    n = len(key)
    edges = [int(np.searchsorted(key, key[n * i // (folds + 1)], side="left")) for i in range(1, folds + 1)]
    if len({0, *edges}) <= folds:
        raise TidelineError(f"split of {name}: too few moments in time for {folds} folds; lower cv.folds in params.yaml")
    return np.searchsorted(np.array(edges), np.arange(n), side="right").astype(np.int8) - np.int8(1)


def _read_evidence(task: Task, layout: Layout) -> dict[str, Any]:
    path = layout.validation / "validation.json"
    if not path.is_file():
        raise TidelineError(f"no {path}: the raw data has not passed validation; run `tideline validate {task.name}`")
    evidence: dict[str, Any] = json.loads(path.read_text())
    return evidence


def _write(layout: Layout, train: pd.DataFrame, test: pd.DataFrame, folds: np.ndarray, record: dict[str, Any]) -> None:
    layout.split.mkdir(parents=True, exist_ok=True)
    fresh = {name: layout.split / f".{name}.part" for name in ("train.parquet", "test.parquet", "folds.npy", "split.json")}
    train.to_parquet(fresh["train.parquet"], index=False)
    test.to_parquet(fresh["test.parquet"], index=False)
    with fresh["folds.npy"].open("wb") as file:
        np.save(file, folds)
    fresh["split.json"].write_text(json.dumps(record, indent=2) + "\n")
    for name, path in fresh.items():
        path.replace(layout.split / name)
