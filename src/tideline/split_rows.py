"""Which rows go where: the four kinds of split, and their folds. Functions of values; nothing is written."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd

from tideline.contracts import Split, Task, TidelineError


def part_rows(frame: pd.DataFrame, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Positions (int64) of training and test rows. A time split returns them in time order."""
    policy = task.split
    for name in policy.by:
        if name not in frame:
            raise TidelineError(
                f"split of {task.name}: no column {name!r} in the data; known: {', '.join(frame.columns)}"
            )
    n = len(frame)
    if policy.kind == "stratified":
        return _part_stratified(frame, task)
    if policy.kind == "time":
        order = np.lexsort([frame[name].to_numpy() for name in reversed(policy.by)])
        late = frame[policy.by[0]].to_numpy()[order] >= find_cut(task)
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
        groups = identify_rows(train, policy.by)
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


def identify_rows(frame: pd.DataFrame, by: tuple[str, ...]) -> np.ndarray:
    """The identifier of each row as text (n,): the `by` values, each with its length so that none run together."""
    columns = [frame[name].map(repr if frame[name].dtype.kind == "f" else str) for name in by]
    return np.array(["".join(f"{len(v)}:{v}" for v in row) for row in zip(*columns, strict=True)], dtype=object)


def _uniform(labels: np.ndarray, seed: int) -> np.ndarray:
    """A number in [0, 1) a label, by its hash and the seed alone."""
    key = str(seed).encode()
    known = {v: int.from_bytes(hashlib.blake2b(v.encode(), digest_size=8, key=key).digest()) for v in set(labels)}
    return np.array([known[v] for v in labels], dtype=np.float64) / 2.0**64


def _test_by_hash(frame: pd.DataFrame, policy: Split) -> np.ndarray:
    return _uniform(identify_rows(frame, policy.by), policy.seed) < policy.test_size


def _test_by_group(frame: pd.DataFrame, policy: Split) -> np.ndarray:
    """Groups in the order of their hashes, each taken if that brings the test rows nearer to their share."""
    labels = identify_rows(frame, policy.by)
    values, codes, sizes = np.unique(labels.astype(str), return_inverse=True, return_counts=True)
    wanted, taken = policy.test_size * len(labels), 0
    chosen = np.zeros(len(values), dtype=bool)
    for group in np.argsort(_uniform(values.astype(object), policy.seed), kind="stable"):
        if abs(taken + sizes[group] - wanted) < abs(taken - wanted):
            chosen[group] = True
            taken += sizes[group]
    return np.asarray(chosen[codes], dtype=bool)


def find_cut(task: Task) -> float:
    """The cut of a time split in its column's units. Raises TidelineError if it does not fit the column."""
    name = task.split.by[0]
    kind = next((c.kind for c in (*task.columns, *task.extra) if c.name == name), "number")
    try:
        return float((np.datetime64(task.split.cut, "D")).astype(int)) if kind == "date" else float(task.split.cut)
    except ValueError as error:
        raise TidelineError(
            f"tasks/{task.name}.py: Split.cut {task.split.cut!r} does not fit column {name!r}: {error}"
        ) from error


def _blocks(key: np.ndarray, folds: int, name: str) -> np.ndarray:
    """Blocks of about equal size in time; rows of one moment stay in one block."""
    n = len(key)
    edges = [int(np.searchsorted(key, key[n * i // (folds + 1)], side="left")) for i in range(1, folds + 1)]
    if len({0, *edges}) <= folds:
        raise TidelineError(
            f"split of {name}: too few moments in time for {folds} folds; lower cv.folds in params.yaml"
        )
    return np.searchsorted(np.array(edges), np.arange(n), side="right").astype(np.int8) - np.int8(1)


def draw_chances(frame: pd.DataFrame, by: tuple[str, ...], seed: int) -> np.ndarray:
    """A number in [0, 1) a row (n,), fixed by its values in the columns `by` and the seed alone."""
    identity = pd.util.hash_pandas_object(frame[list(by)], index=False).to_numpy().astype(np.uint64)
    # Another draw than the hash itself: the same rows are hashed elsewhere.
    mixed = (identity ^ np.uint64(0x9E3779B97F4A7C15 * (2 * seed + 1) % 2**64)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((mixed ^ (mixed >> np.uint64(29))) >> np.uint64(11), dtype=np.float64) / 2.0**53
