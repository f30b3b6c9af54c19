"""Processes that a dead flow run left behind: found by a mark in their environment, and ended."""

from __future__ import annotations

from pathlib import Path

import psutil

from tideline.contracts import TidelineError

MARK = "TIDELINE_FLIGHT"
PATIENCE = 10.0  # seconds for a killed process to be gone


def mark(flight: str, root: Path = Path()) -> dict[str, str]:
    """What the environment of every process of a single flight says; its children inherit it."""
    return {MARK: f"{root.resolve()}:{flight}"}


def end_orphans(flight: str, root: Path = Path()) -> list[str]:
    """Kill what earlier runs of this flight left running; their commands. Only for the holder of its lock.

    Nobody else may run on behalf of the flight while its lock is held, so whatever bears the mark is an orphan. Raises
    TidelineError if one does not die.
    """
    wanted = mark(flight, root)[MARK]
    this = psutil.Process()
    own = {p.pid for p in (this, *this.parents(), *this.children(recursive=True))}
    found: dict[psutil.Process, str] = {}
    for process in psutil.process_iter():
        try:
            if process.pid not in own and process.environ().get(MARK) == wanted:
                found[process] = " ".join(process.cmdline())
                process.kill()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # ended meanwhile, or another user's
    _, alive = psutil.wait_procs(list(found), timeout=PATIENCE)
    if alive:
        numbers = ", ".join(str(process.pid) for process in alive)
        raise TidelineError(f"processes of an earlier run of {flight} do not end when killed: {numbers}; look at them")
    return list(found.values())
