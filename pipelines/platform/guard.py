"""Runs one command and leaves nothing of it behind, however it or whoever started it ends.

`python guard.py SECONDS COMMAND...`. Standard input is a pipe that the starter holds open: when it closes, the starter
is gone, even by kill -9. Then, at SIGTERM, or when the command ends by itself, all that came of the command is asked to
end, and killed after so many seconds. The exit code is the command's, as a shell says it.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
from types import FrameType

import psutil

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_LOOK_SECONDS = 0.1
_LEFT_SECONDS = 2.0  # for those whose parent has already ended


def main() -> int:
    """Run the command until it, the starter or this process is told to end."""
    grace, command = float(sys.argv[1]), sys.argv[2:]
    stopping: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.append(number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    _control_process(_PR_SET_CHILD_SUBREAPER, 1)  # what is orphaned below here becomes a child of this process
    # This process has one thread, so that code may run between fork and exec.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_end_with_parent)
    while child.poll() is None and not stopping and not _has_closed(sys.stdin.fileno()):
        pass
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(grace)
        except subprocess.TimeoutExpired:
            print(f"guard: {command[0]} did not end within {grace:g} s of SIGTERM; killed", flush=True)
    _sweep(child)
    code = child.wait()
    return code if code >= 0 else 128 - code


def _has_closed(pipe: int) -> bool:
    """Look whether the starter is gone, for a moment."""
    readable, _, _ = select.select([pipe], [], [], _LOOK_SECONDS)
    return bool(readable) and not os.read(pipe, 1)


def _sweep(child: subprocess.Popen[bytes]) -> None:
    """End all processes below this one: at once if the command still runs, else they are asked first."""
    left = psutil.Process().children(recursive=True)
    if child.poll() is not None:
        for process in left:
            _signal(process, signal.SIGTERM)
        _, left = psutil.wait_procs(left, _LEFT_SECONDS)
    while left:
        for process in left:
            _signal(process, signal.SIGKILL)
        psutil.wait_procs(left, _LEFT_SECONDS)
        left = psutil.Process().children(recursive=True)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _end_with_parent() -> None:
    _control_process(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _control_process(option: int, value: int) -> None:
    """Linux alone has it; elsewhere kill -9 of this process leaves its command running."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
