"""`tideline <verb>`: the one command behind dvc.yaml and a person's terminal."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from tideline import catalog
from tideline.contracts import TidelineError
from tideline.keys_cli import add_key_verbs
from tideline.layout import Layout
from tideline.lineage_cli import add_lineage_verbs
from tideline.monitor_cli import add_monitor_verb
from tideline.params import load_params
from tideline.predict_cli import add_predict_verb
from tideline.predlog_cli import add_log_verbs
from tideline.registry_cli import add_registry_verbs
from tideline.retraining_cli import add_retraining_verbs

# Stages of the graph that need nothing but the task: verb -> (module, function).
_TASK_STAGES = {
    "validate": ("validate", "validate", "check the raw data against the task's columns"),
    "split": ("split", "split", "part the rows into training and test rows, and the former into folds"),
    "search-preparation": ("preparation", "search_preparation", "search over preparation choices"),
    "features": ("features", "build_features", "fit the transforms and build the feature matrices"),
    "select": ("selection", "select", "choose the winner by cross-validation and draft its bundle"),
    "evaluate": ("evaluate", "evaluate", "score the winner on the test rows, once, and write the report"),
    "bundle": ("bundle", "finish", "write the bundle that ships"),
}
_MODEL_STAGES = {
    "tune": ("tuning", "tune", "search a model's parameters within its budget"),
    "train": ("train", "train", "cross-validate and fit a model"),
    "export": ("export", "export", "write a model as ONNX and check parity"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; a TidelineError becomes one clear message and exit code 1."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments) or 0)
    except TidelineError as error:
        print(f"tideline {arguments.verb}: {error}", file=sys.stderr, flush=True)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tideline", description="From versioned raw data to a served ONNX model.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    fetch = verbs.add_parser("fetch", help="bring the raw data in and record where it came from")
    fetch.add_argument("task")
    fetch.add_argument("--source", choices=("auto", "folder", "external", "download", "simulator"))
    fetch.set_defaults(run=_fetch)

    simulate = verbs.add_parser("simulate", help="write simulated rows to a Parquet file")
    simulate.add_argument("simulator")
    simulate.add_argument("--rows", type=int, default=20_640)
    simulate.add_argument("--scenario", default="none")
    simulate.add_argument("--seed", type=int, default=42)
    simulate.add_argument("-o", "--out", type=Path, required=True)
    simulate.set_defaults(run=_simulate)

    for verb, (module, function, text) in _TASK_STAGES.items():
        stage = verbs.add_parser(verb, help=text)
        stage.add_argument("task")
        stage.set_defaults(run=_run_stage, module=module, function=function)
    for verb, (module, function, text) in _MODEL_STAGES.items():
        stage = verbs.add_parser(verb, help=text)
        stage.add_argument("task")
        stage.add_argument("model")
        stage.set_defaults(run=_train if verb == "train" else _run_stage, module=module, function=function)

    blend = verbs.add_parser("blend", help="weigh the best models into one, and export it as one graph")
    blend.add_argument("task")
    blend.set_defaults(run=_blend)

    add_registry_verbs(verbs)
    add_lineage_verbs(verbs)
    add_predict_verb(verbs)
    add_log_verbs(verbs)
    add_monitor_verb(verbs)
    add_key_verbs(verbs)
    add_retraining_verbs(verbs)
    return parser


def _fetch(arguments: argparse.Namespace) -> None:
    from tideline.data import fetch
    from tideline.labelled import ensure_folder

    params = load_params()
    task = catalog.get_task(arguments.task)
    fetch(task, params, Layout(task.name), arguments.source or params.source)
    ensure_folder(Layout(task.name))


def _simulate(arguments: argparse.Namespace) -> None:
    from tideline.simulator import simulate

    simulate(arguments.simulator, arguments.rows, arguments.seed, arguments.scenario, arguments.out)


def _run_stage(arguments: argparse.Namespace) -> None:
    params = load_params()
    task = catalog.get_task(arguments.task)
    function = getattr(importlib.import_module(f"tideline.{arguments.module}"), arguments.function)
    extra = []
    if "model" in arguments:
        if arguments.model != "blend":
            catalog.get_model(arguments.model)
        extra = [arguments.model]
    function(task, params, Layout(task.name), *extra)


def _train(arguments: argparse.Namespace) -> None:
    from tideline.families.torch_group import in_group, start_group

    processes = load_params().processes
    if processes > 1 and catalog.get_model(arguments.model).spreads == "torchrun" and not in_group():
        start_group(processes, ("train", arguments.task, arguments.model))
    _run_stage(arguments)


def _blend(arguments: argparse.Namespace) -> None:
    from tideline.blend import blend
    from tideline.export import export

    params = load_params()
    task = catalog.get_task(arguments.task)
    blend(task, params, Layout(task.name))
    export(task, params, Layout(task.name), "blend")


if __name__ == "__main__":
    sys.exit(main())
