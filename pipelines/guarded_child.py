"""A Python module run as a program that ends, with all it started, when whoever started it is gone.

Run as `python -m pipelines.guarded_child PIPE MODULE ARGUMENT...`; the file descriptor PIPE reaches its end when the
parent dies, however it dies.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def main() -> None:
    """Run the module with its arguments; it ends the process as it likes."""
    pipe, module = int(sys.argv[1]), sys.argv[2]
    threading.Thread(target=end_with_parent, args=(pipe,), daemon=True).start()
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def end_with_parent(pipe: int) -> None:
    """Wait until the pipe's other end is closed, then kill this process's whole group."""
    while os.read(pipe, 1):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
