"""A `rollback --all` that was begun and not finished: what status says of it."""

from __future__ import annotations

import subprocess
import sys

from tests.serving.real_server import clean_environment
from tests.small_registry import submit
from tests.small_task import ROOT
from tideline.layout import Layout
from tideline.lineage.restoring import begin_journal, end_journal
from tideline.registry import status
from tideline.registry_view import describe_status

# Begins to restore, and is at work until it is killed.
RESTORE = """
import sys
from pathlib import Path
from tideline.file_lock import hold_lock
from tideline.layout import Layout
from tideline.lineage.restoring import begin_journal, lock_file
layout = Layout("rent", Path(sys.argv[1]))
with hold_lock(lock_file(layout)):
    begin_journal(layout, sys.argv[2], "")
    print("begun", flush=True)
    sys.stdin.read()
"""


def test_status_says_what_is_unfinished_and_which_command_finishes_it(layout: Layout) -> None:
    first = submit(layout, "good").version
    assert not status(layout).warnings
    command = [sys.executable, "-c", RESTORE, str(layout.root), first]
    environment = clean_environment(ROOT)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        (warning,) = status(layout).warnings
        assert warning.endswith(f"is not finished yet: process {process.pid} is at work")
        process.kill()
    warning = describe_status(layout).splitlines()[-1]
    assert warning.startswith(f"  warning: `tideline rollback rent --all` to {first}, begun 2")
    assert warning.endswith("may be of different versions; `tideline rollback rent --all` finishes it")
    assert begin_journal(layout, first, "").version == first  # gone on with, and not a second one
    end_journal(layout)
    assert not status(layout).warnings


def test_a_damaged_journal_is_a_warning_and_hides_nothing(layout: Layout) -> None:
    version = submit(layout, "good").version
    (layout.registry / "restoring.json").write_text("{")
    state = status(layout)
    assert state.champion == version
    assert "restoring.json cannot be read" in state.warnings[0] and "remove it" in state.warnings[0]
