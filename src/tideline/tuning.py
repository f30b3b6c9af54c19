"""Stage: search a model's parameters by Optuna, within a budget, in a study that survives a kill."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tideline import catalog
from tideline.cluster import open_cluster
from tideline.contracts import ModelSpec, Problem, Task, TidelineError
from tideline.families.folds import make_context, read_matrices
from tideline.files import write_json
from tideline.layout import Layout
from tideline.params import Budget, Params
from tideline.progress import Log, stage
from tideline.trials import Scorer, score_here, score_on_cluster

if TYPE_CHECKING:
    import optuna

WARMUP_TRIALS = 4  # trials that are never pruned: the median needs company


def tune(task: Task, params: Params, layout: Layout, model: str) -> None:
    """Write tune/<model>/best.json: the parameters to train with, all of them, and where they come from.

    A model without a budget in params.yaml, or without a search space, keeps its defaults.
    """
    with stage("tune", task.name, model) as log:
        spec = catalog.get_model(model)
        defaults, space = dict(spec.defaults[task.problem]), spec.space[task.problem]
        budget = params.tuning.get(model, Budget(0, 0.0))
        best: dict[str, Any] = {"params": defaults, "trials": 0, "source": "defaults", "score": None}
        if budget.trials > 0 and space:
            study = _open_study(task, params, layout, spec)
            context, folds = make_context(task, params, layout), read_matrices(layout).folds
            with open_cluster(params) as client:
                if client is None:
                    scorer, at_once = score_here(spec, context, folds), 1
                else:
                    scorer, at_once = score_on_cluster(client, spec, context, folds), params.workers
                _search(study, spec, task.problem, len(folds), scorer, at_once, budget, log)
            best = _read_best(study, defaults)
        write_json(layout.tune(model) / "best.json", best)
        score = "" if best["score"] is None else f", score {best['score']:,.5g} after {best['trials']} trials"
        log.say(f"parameters from {best['source']}{score}: {layout.tune(model)}")


def name_study(task: Task, params: Params, layout: Layout, spec: ModelSpec) -> str:
    """A name that changes with whatever would make old trials wrong: features, defaults, space, seed."""
    features = json.loads((layout.features / "features.json").read_text())["hash"]
    parts = [features, spec.name, spec.defaults[task.problem], spec.space[task.problem], params.seed, task.problem]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=dict).encode()).hexdigest()
    return f"{spec.name}-{digest[:16]}"


def _open_study(task: Task, params: Params, layout: Layout, spec: ModelSpec) -> optuna.Study:
    """The study, new or continued; a trial that a kill left running is given up, its place is taken by a new one."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    layout.studies.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=f"sqlite:///{layout.studies / f'{spec.name}.db'}",
        study_name=name_study(task, params, layout, spec),
        direction="minimize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=WARMUP_TRIALS, n_warmup_steps=0),
        load_if_exists=True,
    )
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    study.set_user_attr("seed", params.seed)
    return study


def _search(
    study: optuna.Study,
    spec: ModelSpec,
    problem: Problem,
    folds: int,
    score: Scorer,
    at_once: int,
    budget: Budget,
    log: Log,
) -> None:
    """Run the trials that are left, so many at once.

    Sampler seeds follow from the trial's place, so a continued search is the same search.
    """
    import optuna

    defaults, space = dict(spec.defaults[problem]), spec.space[problem]
    done = _finished(study)
    if done:
        log.say(f"continuing study {study.study_name}: {len(done)} trials are there")
    spent = sum(trial.duration.total_seconds() for trial in done if trial.duration is not None) / at_once
    started = time.monotonic()
    optuna_space = {name: _distribution(name, rule) for name, rule in space.items()}
    with log.bar(budget.trials, f"{spec.name}: trials") as bar:
        bar.update(len(done))
        for start in range(len(done), budget.trials, at_once):
            if spent + time.monotonic() - started > budget.seconds and start > 0:
                log.say(f"the budget of {budget.seconds:g} s is spent after {start} of {budget.trials} trials")
                break
            if start == 0 and not study.get_trials(states=(optuna.trial.TrialState.WAITING,)):
                study.enqueue_trial({name: defaults[name] for name in space if name in defaults})
            trials = []
            for place in range(start, min(start + at_once, budget.trials)):
                study.sampler = optuna.samplers.TPESampler(
                    seed=study.user_attrs["seed"] + place,
                    n_startup_trials=5,
                    constant_liar=at_once > 1,  # those under way count as bad, so that the next one is elsewhere
                )
                trials.append(study.ask(optuna_space))
            _run_trials(study, trials, defaults, folds, score)
            bar.update(len(trials), f"best {study.best_value:,.5g}" if _scored(study) else "")


def _run_trials(
    study: optuna.Study, trials: Sequence[optuna.Trial], defaults: Mapping[str, Any], folds: int, score: Scorer
) -> None:
    """Fold by fold; what is pruned on the way takes no further part."""
    import optuna

    scores: dict[optuna.Trial, list[float]] = {trial: [] for trial in trials}
    for number in range(folds):
        found = score([{**defaults, **trial.params} for trial in scores], number)
        for trial, value in zip(list(scores), found, strict=True):
            scores[trial].append(value)
            trial.report(float(np.mean(scores[trial])), number)
            if number < folds - 1 and trial.should_prune():
                del scores[trial]
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    for trial, values in scores.items():
        study.tell(trial, float(np.mean(values)))


def _distribution(name: str, rule: Mapping[str, Any]) -> Any:
    """A search space entry as Optuna's distribution; numbers are whole if both bounds are."""
    import optuna

    if "choices" in rule:
        return optuna.distributions.CategoricalDistribution(rule["choices"])
    try:
        low, high = rule["low"], rule["high"]
    except KeyError as missing:
        raise TidelineError(f"search space: {name} has neither choices nor {missing}") from None
    log, step = bool(rule.get("log", False)), rule.get("step")
    if isinstance(low, int) and isinstance(high, int):
        return optuna.distributions.IntDistribution(low, high, log=log, step=step or 1)
    return optuna.distributions.FloatDistribution(low, high, log=log, step=step)


def _finished(study: optuna.Study) -> list[Any]:
    from optuna.trial import TrialState

    finished: list[Any] = study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
    return finished


def _scored(study: optuna.Study) -> bool:
    from optuna.trial import TrialState

    return bool(study.get_trials(states=(TrialState.COMPLETE,)))


def _read_best(study: optuna.Study, defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "params": {**defaults, **study.best_params},
        "trials": len(_finished(study)),
        "source": "search",
        "score": study.best_value,
    }
