"""Runs a Python module in a process group of its own: its lines, a time-out, and nothing of it left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from pipelines.orphans import mark
from tideline.contracts import TidelineError

TAIL = 6  # lines of a failed program that its error repeats


def run_guarded(
    flight: str,
    command: Sequence[str],
    say: Callable[[str], object],
    timeout: float,
    root: Path = Path(),
    fine: Collection[int] = (0,),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Run `python -m COMMAND`; every line that is not empty goes to `say`. Returns its exit code.

    Raises TidelineError with the last lines if that is not among the `fine` ones, or if it takes longer than `timeout`
    seconds. Whatever happens, also to this process, no process of the command outlives it. flight: the single flight
    on whose behalf it runs.
    """
    read, write = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.guarded_child", str(read), *command],
            cwd=root, env={**os.environ, **environment, **mark(flight, root)}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", pass_fds=(read,), start_new_session=True,
        )  # fmt: skip
    except BaseException:
        os.close(write)
        raise
    finally:
        os.close(read)
    late = threading.Event()

    def give_up() -> None:
        late.set()
        _kill_group(process.pid)

    def end_group() -> None:
        # The leader is left unreaped until the group is dead, so that its number cannot belong to anybody else.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        _kill_group(process.pid)

    timer, end = threading.Timer(timeout, give_up), threading.Thread(target=end_group, daemon=True)
    timer.daemon = True
    timer.start()
    end.start()
    tail: deque[str] = deque(maxlen=TAIL)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip():
                tail.append(line.rstrip())
                say(line.rstrip())
    except BaseException:
        _kill_group(process.pid)
        raise
    finally:
        timer.cancel()
        end.join()
        process.wait()
        os.close(write)
    said = "".join(f"\n  {line}" for line in tail)
    if late.is_set():
        raise TidelineError(f"`{' '.join(command)}` took longer than {timeout:g} s and was killed{said}")
    if process.returncode < 0:
        raise TidelineError(f"`{' '.join(command)}` was killed by {signal.Signals(-process.returncode).name}{said}")
    if process.returncode not in fine:
        raise TidelineError(f"`{' '.join(command)}` failed (exit code {process.returncode}); it said:{said}")
    return process.returncode


def _kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return  # all of it has ended
