"""The most memory that a process ever held, for programs that a test starts."""

from __future__ import annotations

# Source of a function `peak()`: kilobytes. Not getrusage's: a process begins there with what its parent held, so that
# after a large parent nothing could be seen to grow. (Linux: proc(5), VmHWM.)
PEAK = """
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
"""
