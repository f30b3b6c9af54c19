"""Stage: search the preparation choices that a task offers (Step.search), by Optuna, before any model is tuned."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tideline.contracts import Task, TidelineError
from tideline.features import build_preprocess, cast_matrix, encode_target, fit_matrix, iterate_folds, select_columns
from tideline.files import write_json
from tideline.layout import Layout
from tideline.params import Params
from tideline.progress import Log, stage

if TYPE_CHECKING:
    import optuna
    import pandas as pd


def search_preparation(task: Task, params: Params, layout: Layout) -> None:
    """Write preparation.json: values of the searched parameters by "<block>.<step index>.<param>", and how many trials.

    Each choice is scored by a small histogram gradient boosting over the folds of the training rows (RMSE or log
    loss). Without a budget in params.yaml, or without anything to search, the task's own values stay.
    """
    import pandas as pd

    with stage("search-preparation", task.name) as log:
        space, result = collect_space(task), {"params": {}, "trials": 0, "score": None}
        if not space or params.preparation.trials <= 0:
            reason = "the task offers no choices" if not space else "no budget in params.yaml (preparation.trials)"
            log.say(f"the task's own preparation stays: {reason}")
        else:
            frame = pd.read_parquet(layout.split / "train.parquet")
            folds = np.load(layout.split / "folds.npy")
            split = json.loads((layout.split / "split.json").read_text())["hash"]
            study = _open_study(task, params, layout, space, split)
            _search(study, space, params, log, lambda chosen: score_choices(task, params, frame, folds, chosen))
            result = _read_best(study)
            log.say(f"best of {result['trials']} trials, score {result['score']:,.5g}: {result['params']}")
        write_json(layout.preparation / "preparation.json", result)


def collect_space(task: Task) -> dict[str, list[Any]]:
    """All choices of a task by "<block>.<step index>.<param>"; an empty list of choices is an error."""
    space = {}
    for block in task.features:
        for i, step in enumerate(block.steps):
            for name, choices in step.search.items():
                key = f"{block.name}.{i}.{name}"
                if not len(choices):
                    raise TidelineError(f"tasks/{task.name}.py: search of {key!r} lists no choices")
                space[key] = list(choices)
    return space


def score_choices(
    task: Task, params: Params, frame: pd.DataFrame, folds: np.ndarray, chosen: Mapping[str, Any]
) -> float:
    """Mean over folds of the validation RMSE (regression) or log loss (classification); lower is better."""
    from threadpoolctl import threadpool_limits

    raw, y = select_columns(task, frame), encode_target(task, frame)
    scores = []
    for fold in iterate_folds(task, frame, folds):
        preprocess = build_preprocess(task, chosen)
        known = fit_matrix(preprocess, raw.iloc[fold.fit], y[fold.fit])
        asked = cast_matrix(preprocess, preprocess.transform(raw.iloc[fold.val]))
        with threadpool_limits(params.threads):
            scores.append(_score_fold(task, params.seed, known, y[fold.fit], asked, y[fold.val]))
    return float(np.mean(scores))


def _score_fold(task: Task, seed: int, X: np.ndarray, y: np.ndarray, X_val: np.ndarray, y_val: np.ndarray) -> float:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.metrics import log_loss

    settings: dict[str, Any] = {"max_iter": 120, "early_stopping": False, "random_state": seed}
    if task.problem == "regression":
        found = HistGradientBoostingRegressor(**settings).fit(X, y).predict(X_val)
        return float(np.sqrt(np.mean((found - y_val) ** 2)))
    model = HistGradientBoostingClassifier(**settings).fit(X, y)
    probabilities = np.zeros((len(X_val), len(task.classes)))
    probabilities[:, model.classes_] = model.predict_proba(X_val)
    return float(log_loss(y_val, np.clip(probabilities, 1e-15, 1), labels=np.arange(len(task.classes))))


def _open_study(task: Task, params: Params, layout: Layout, space: Mapping[str, list[Any]], split: str) -> optuna.Study:
    """The study, new or continued; its name changes with whatever would make old trials wrong."""
    import optuna

    steps = [[b.name, b.columns, [[s.transform, dict(s.params)] for s in b.steps]] for b in task.features]
    parts = json.dumps([split, steps, space, params.seed, task.problem], sort_keys=True, default=dict)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    layout.studies.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=f"sqlite:///{layout.studies / 'preparation.db'}",
        study_name=f"preparation-{hashlib.sha256(parts.encode()).hexdigest()[:16]}",
        direction="minimize",
        load_if_exists=True,
    )
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):  # a kill left it behind
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def _search(
    study: optuna.Study,
    space: Mapping[str, list[Any]],
    params: Params,
    log: Log,
    score: Callable[[Mapping[str, Any]], float],
) -> None:
    """Run the trials that are left; samplers are seeded by place, so that a continued search is the same search."""
    import optuna

    budget, done = params.preparation, _completed(study)
    if done:
        log.say(f"continuing study {study.study_name}: {len(done)} trials are there")
    spent = sum(trial.duration.total_seconds() for trial in done if trial.duration is not None)
    started = time.monotonic()
    texts = {key: [json.dumps(c, default=dict) for c in choices] for key, choices in space.items()}
    distributions = {key: optuna.distributions.CategoricalDistribution(options) for key, options in texts.items()}
    with log.bar(budget.trials, "preparation: trials") as bar:
        bar.update(len(done))
        for place in range(len(done), budget.trials):
            if place > 0 and spent + time.monotonic() - started > budget.seconds:
                log.say(f"the budget of {budget.seconds:g} s is spent after {place} of {budget.trials} trials")
                break
            study.sampler = optuna.samplers.TPESampler(seed=params.seed + place, n_startup_trials=5)
            trial = study.ask(distributions)
            value = score({key: json.loads(text) for key, text in trial.params.items()})
            study.tell(trial, value)
            bar.update(1, f"best {study.best_value:,.5g}")


def _completed(study: optuna.Study) -> list[Any]:
    from optuna.trial import TrialState

    return list(study.get_trials(states=(TrialState.COMPLETE,)))


def _read_best(study: optuna.Study) -> dict[str, Any]:
    chosen = {key: json.loads(text) for key, text in study.best_params.items()}
    return {"params": chosen, "trials": len(_completed(study)), "score": study.best_value}
