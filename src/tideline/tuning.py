"""Stage: search a model's parameters by Optuna, within a budget, in a study that survives a kill."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tideline import catalog
from tideline.contracts import BuildContext, ModelSpec, Task, TidelineError
from tideline.families.folds import Matrices, fit_all, make_context, measure, predict, read_matrices
from tideline.files import write_json
from tideline.layout import Layout
from tideline.params import Budget, Params
from tideline.progress import Log, stage

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
            _search(study, spec, task.problem, read_matrices(layout), make_context(task, params, layout), budget, log)
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
    problem: str,
    matrices: Matrices,
    context: BuildContext,
    budget: Budget,
    log: Log,
) -> None:
    """Run the trials that are left.

    Sampler seeds follow from the trial's place, so a continued search is the same search.
    """
    import optuna

    defaults, space = dict(spec.defaults[problem]), spec.space[problem]
    done = _finished(study)
    if done:
        log.say(f"continuing study {study.study_name}: {len(done)} trials are there")
    spent = sum(trial.duration.total_seconds() for trial in done if trial.duration is not None)
    started = time.monotonic()
    optuna_space = {name: _distribution(name, rule) for name, rule in space.items()}
    with log.bar(budget.trials, f"{spec.name}: trials") as bar:
        bar.update(len(done))
        for place in range(len(done), budget.trials):
            if spent + time.monotonic() - started > budget.seconds and place > 0:
                log.say(f"the budget of {budget.seconds:g} s is spent after {place} of {budget.trials} trials")
                break
            study.sampler = optuna.samplers.TPESampler(seed=study.user_attrs["seed"] + place, n_startup_trials=5)
            if place == 0 and not study.get_trials(states=(optuna.trial.TrialState.WAITING,)):
                study.enqueue_trial({name: defaults[name] for name in space if name in defaults})
            trial = study.ask(optuna_space)
            _run_trial(study, trial, spec, {**defaults, **trial.params}, problem, matrices, context)
            bar.update(1, f"best {study.best_value:,.5g}" if _scored(study) else "")


def _run_trial(
    study: optuna.Study,
    trial: optuna.Trial,
    spec: ModelSpec,
    settings: Mapping[str, Any],
    problem: str,
    matrices: Matrices,
    context: BuildContext,
) -> None:
    import optuna

    scores: list[float] = []
    for number, fold in enumerate(matrices.folds):
        (estimator,) = fit_all(spec, settings, context, [(fold.X_fit, fold.y_fit)])
        scores.append(measure(fold.y_val, predict(estimator, fold.X_val, problem)))
        trial.report(float(np.mean(scores)), number)
        if number < len(matrices.folds) - 1 and trial.should_prune():
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return
    study.tell(trial, float(np.mean(scores)))


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
