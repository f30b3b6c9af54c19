"""`tideline predict FILE -o OUT`: score a file with the champion."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.progress import Bar, say


def add_predict_verb(verbs: Any) -> None:
    """Add `predict` to the parser's verbs."""
    command = verbs.add_parser("predict", help="score a CSV or Parquet file of any size with the champion")
    command.add_argument("file", type=Path)
    command.add_argument("-o", "--out", type=Path, required=True, help="what to write: .parquet or .csv")
    command.add_argument("--task", help="whose champion; not needed if there is but one")
    command.add_argument("--version", help="this version instead of the champion")
    command.add_argument("--rejects", type=Path, metavar="FILE", help="set rows aside that break a rule")
    command.set_defaults(run=_predict)


def _predict(arguments: argparse.Namespace) -> None:
    from tideline.bundle import load_bundle
    from tideline.champion import champion_bundle, find_version, versions_folder
    from tideline.params import load_params
    from tideline.predict_file import predict_file
    from tideline.table_files import TableFile

    layout = Layout(arguments.task or _find_task())
    named = arguments.version and versions_folder(layout) / find_version(layout, arguments.version)
    bundle = load_bundle(named or champion_bundle(layout))
    with TableFile.open(arguments.file) as file:
        total = file.rows
    version, threads = bundle.path.name, load_params().threads
    with Bar(total, "rows") as bar:
        scored = predict_file(bundle, version, arguments.file, arguments.out, threads, arguments.rejects, bar.update)
    simulated = ", trained on SIMULATED data" if bundle.manifest.provenance.get("simulated") else ""
    say(f"{scored.rows:,} rows by {layout.task} {bundle.manifest.model} {version}{simulated} in {arguments.out}")
    if arguments.rejects:
        say(f"{scored.rejected:,} rows were set aside in {arguments.rejects}, with the reason")


def _find_task() -> str:
    folder = Layout("").registry
    tasks = sorted(pointer.parent.name for pointer in folder.glob("*/champion.json"))
    if len(tasks) == 1:
        return tasks[0]
    if tasks:
        raise TidelineError(f"there are champions of {', '.join(tasks)}; say which is meant: --task {tasks[0]}")
    raise TidelineError(f"there is no champion in {folder.absolute()}; build and promote one: `make run`")
