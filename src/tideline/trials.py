"""What a trial's settings are worth on a fold: one after the other here, or side by side on a Dask cluster."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from tideline import catalog
from tideline.contracts import BuildContext, ModelSpec, TidelineError
from tideline.families.folds import Fold, fit_all, measure, predict

if TYPE_CHECKING:
    import distributed

Settings = Mapping[str, Any]
_one_at_a_time = threading.Lock()  # in a worker: a fit may use all of its threads


class Scorer(Protocol):
    """RMSE or log loss of several settings on fold `number`."""

    def __call__(self, settings: Sequence[Settings], number: int) -> list[float]: ...


def score_here(spec: ModelSpec, context: BuildContext, folds: Sequence[Fold]) -> Scorer:
    """In this process."""
    return lambda settings, number: [_score(spec, own, context, folds[number]) for own in settings]


def score_on_cluster(
    client: distributed.Client, spec: ModelSpec, context: BuildContext, folds: Sequence[Fold]
) -> Scorer:
    """On the workers, which hold the folds; each fits one at a time, with all of its threads.

    Raises TidelineError if workers die over and over.
    """
    from distributed import KilledWorker

    # On every worker, so that the death of one loses nothing.
    placed = [client.scatter(fold, broadcast=True, hash=False) for fold in folds]

    def score(settings: Sequence[Settings], number: int) -> list[float]:
        jobs = [client.submit(_score_there, spec.name, own, context, placed[number], pure=False) for own in settings]
        try:
            scores: list[float] = client.gather(jobs)
        except KilledWorker as error:
            raise TidelineError(
                f"{spec.name}: {error}; the workers' logs say why, memory is the usual cause"
            ) from error
        return scores

    return score


def _score(spec: ModelSpec, settings: Settings, context: BuildContext, fold: Fold) -> float:
    (estimator,) = fit_all(spec, settings, context, [(fold.X_fit, fold.y_fit)])
    return measure(fold.y_val, predict(estimator, fold.X_val, context.problem))


def _score_there(name: str, settings: Settings, context: BuildContext, fold: Fold) -> float:
    from distributed import get_worker

    with _one_at_a_time:
        return _score(catalog.get_model(name), settings, replace(context, threads=get_worker().state.nthreads), fold)
