"""LightGBM on the workers of a Dask cluster: each holds a part of the rows, histograms are added up between them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from tideline.contracts import TidelineError

if TYPE_CHECKING:
    import distributed


def train_on_cluster(
    client: distributed.Client, arguments: Mapping[str, Any], X: np.ndarray, label: np.ndarray, iterations: int
) -> Any:
    """The booster that LightGBM's data-parallel learner fits to X (n, n_features) and label (n,).

    It is not the one that a single process would fit, to the last bit: bins are found from parts of the rows. Raises
    TidelineError if there are fewer rows than workers, or if a worker is lost: LightGBM cannot go on without it.
    """
    import dask
    from dask import array
    from lightgbm import DaskLGBMClassifier, DaskLGBMRegressor

    count = len(client.nthreads())
    if len(X) < count:
        raise TidelineError(f"lightgbm: {len(X)} rows cannot be shared by {count} Dask workers; set compute: local")
    cuts = np.linspace(0, len(X), count + 1).astype(int)

    def place(whole: np.ndarray) -> array.Array:
        parts = [whole[a:b] for a, b in pairwise(cuts)]
        there = client.scatter(parts, hash=False)
        lazily = zip(there, parts, strict=True)
        return array.concatenate(
            [array.from_delayed(dask.delayed(future), part.shape, part.dtype) for future, part in lazily]
        )

    kind = DaskLGBMClassifier if arguments.get("objective") in ("binary", "multiclass") else DaskLGBMRegressor
    own = {key: value for key, value in arguments.items() if key not in ("num_threads", "num_class")}
    model = kind(client=client, n_estimators=iterations, tree_learner="data", **own)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Parameter n_jobs will be ignored")  # each worker uses its own threads
            model.fit(place(X), place(label))
    except Exception as error:  # LightGBM's own, or a worker's: whatever it is, this fit is lost
        raise TidelineError(f"lightgbm on {count} Dask workers: {error}") from error
    return model.booster_
