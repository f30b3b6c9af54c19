"""The C library's allocator, so that memory stays flat while versions come and go."""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8  # malloc.h
ARENAS = 2


def limit_arenas() -> None:
    """Let all threads share two of glibc's pools; other C libraries are left as they are.

    By default each thread gets its own, eight a core. Each version is loaded and freed by other threads, and what it
    leaves in their pools is not given back: the process grew by hundreds of MB an hour with a promotion a minute.
    Python holds its lock while it allocates, so that more pools save nothing.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt") and hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_ARENA_MAX, ARENAS)
