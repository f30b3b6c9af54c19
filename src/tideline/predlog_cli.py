"""`tideline log <verb>`: export, prune, replay and status of the prediction log."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tideline.contracts import Column, TidelineError
from tideline.layout import Layout
from tideline.progress import Bar, say

if TYPE_CHECKING:
    from tideline.predlog import Store


def add_log_verbs(verbs: Any) -> None:
    """Add `log` and its verbs to the parser's verbs."""
    log = verbs.add_parser("log", help="export, prune and look at the prediction log")
    actions = log.add_subparsers(dest="action", required=True, metavar="ACTION")
    command = actions.add_parser("export", help="write predictions and labels to a Parquet file")
    command.add_argument("task")
    command.add_argument("-o", "--out", type=Path, required=True)
    command.add_argument("--since", help="first day or time, e.g. 2025-01-31 or 2025-01-31T12:00 (UTC)")
    command.add_argument("--until", help="the first day or time that is left out")
    command.add_argument(
        "--version", help="only what this version predicted, with its columns (default: the champion's)"
    )
    command.add_argument("--raw", action="store_true", help="features as JSON text, whatever they are")
    command.set_defaults(run=_export)
    command = actions.add_parser("prune", help="remove old predictions and their labels")
    command.add_argument("task")
    command.add_argument("--older-than", required=True, metavar="AGE", help="e.g. 90d, 12h, 6w")
    command.set_defaults(run=_prune)
    command = actions.add_parser("replay", help="write a journal into the store whose server is gone for good")
    command.add_argument("journal", type=Path, nargs="?")
    command.set_defaults(run=_replay)
    command = actions.add_parser("status", help="what is in the store")
    command.set_defaults(run=_status)


def open_existing() -> Store:
    """The project's store, which a server has begun. Raises TidelineError if there is none."""
    from tideline.predlog import Store, store_url

    store = Store(store_url(Path()))
    file = store.database.file
    if file is not None and not file.exists():
        raise TidelineError(f"no store at {file}; a server begins it, or set TIDELINE_STORE_URL to the one you mean")
    store.check()
    return store


def _export(arguments: argparse.Namespace) -> None:
    from tideline.champion import find_version
    from tideline.predlog.export import parse_time

    since, until = (None if text is None else parse_time(text) for text in (arguments.since, arguments.until))
    if since is not None and until is not None and since >= until:
        raise TidelineError(f"--since {arguments.since} is not before --until {arguments.until}")
    layout = Layout(arguments.task)
    version = None if arguments.version is None else find_version(layout, arguments.version)
    columns = None if arguments.raw else _read_columns(layout, version)
    with open_existing() as store, Bar(0, "rows") as bar:
        rows = store.export(arguments.task, arguments.out, since, until, version, columns, bar.update)
    what = "features as columns"
    if columns is None:
        what = "features as JSON text" + ("" if arguments.raw else " (no champion says their types)")
    say(f"{rows:,} predictions of {arguments.task} in {arguments.out}, {what}")


def _prune(arguments: argparse.Namespace) -> None:
    from tideline.predlog.export import parse_age

    def warn(labelled: int) -> None:
        text = (
            f"{labelled:,} of the predictions that go have a label: what no snapshot holds cannot be learnt from any "
            f"more; `tideline collect {arguments.task}` before a pruning keeps it"
        )
        print(text, file=sys.stderr, flush=True)

    age = parse_age(arguments.older_than)
    with open_existing() as store, Bar(0, "rows") as bar:
        done = store.prune(arguments.task, age, bar.update, warn)
    say(
        f"removed {done.predictions:,} predictions of {arguments.task} from before {_date(done.before)}, "
        f"and their {done.labels:,} labels"
    )
    if store.database.dialect == "sqlite" and done.predictions:
        say("the file keeps its size: new predictions use the space")


def _replay(arguments: argparse.Namespace) -> None:
    from tideline.predlog import journal_folder

    folder = arguments.journal or journal_folder(Path())
    if not folder.is_dir():
        raise TidelineError(f"no journal at {folder}; name its folder")
    with open_existing() as store:
        rows = store.replay(folder)
    say(f"{rows:,} predictions of {folder} are in {store.place}")


def _status(arguments: argparse.Namespace) -> None:
    from tideline.predlog import journal_folder
    from tideline.predlog.journal import Journal

    with open_existing() as store:
        counts = store.counts()
    file = store.database.file
    say(store.place + ("" if file is None else f", {file.stat().st_size / 1e6:,.1f} MB"))
    for c in counts:
        share = f"{c.labelled:,} labelled ({c.labelled / c.predictions:.1%})"
        say(f"  {c.task}  {c.version}  {c.role:9s}{c.predictions:>12,}  {share}  {_date(c.first)} to {_date(c.last)}")
    if not counts:
        say("  nothing is logged yet")
    journal = Journal(journal_folder(Path()))
    if waiting := journal.list_segments():
        size = sum(path.stat().st_size for path in waiting)
        say(f"{journal.folder}: {len(waiting)} files, {size / 1e6:,.1f} MB wait for the store")
    for path in journal.list_unread():
        say(f"{path}: damaged; what could be read of it is in the store")


def _read_columns(layout: Layout, version: str | None) -> tuple[Column, ...] | None:
    """A version's, or the champion's; None without one."""
    from tideline.bundle import load_bundle
    from tideline.champion import champion_bundle, versions_folder
    from tideline.pointer import read_pointer

    if version is not None:
        return load_bundle(versions_folder(layout) / version).manifest.columns
    return None if read_pointer(layout) is None else load_bundle(champion_bundle(layout)).manifest.columns


def _date(time: int) -> str:
    return datetime.fromtimestamp(time / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
