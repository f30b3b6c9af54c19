"""The C library's allocator, so that memory stays flat while versions come and go."""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # malloc.h
ARENAS = 2
LARGE = 2**20  # bytes


def tune_allocator() -> None:
    """Let all threads share two of glibc's pools, and give large blocks back when they are freed. Other C libraries
    are left as they are.

    By default each thread gets a pool of its own, eight a core, and blocks as large as a model come from the pools once
    one was freed. Each version is loaded and freed by other threads, and what lies behind it in their pools keeps its
    memory: the process grew by hundreds of MB an hour with a promotion a minute. Python holds its lock while it
    allocates, so that more pools save nothing.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt") and hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_ARENA_MAX, ARENAS)
        library.mallopt(_M_MMAP_THRESHOLD, LARGE)
