"""Prediction ids: 20 characters that sort by time and never repeat, not even across processes.

    0g8m4t1rk  00z7  w3k9d2c
    time (ms)  count  process

Crockford's base 32 in lower case. The last part is drawn at random when a process starts (35 bits), so that workers
need no common counter. Ids are unique, not secret.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [a + b for a in _DIGITS for b in _DIGITS]
_COUNTS = len(_PAIRS) ** 2
ID_LENGTH = 20


class IdMint:
    """Makes ids that sort in the order in which they were made. Safe to call from several threads and after a fork.

    `clock` gives nanoseconds since 1970-01-01. When it goes back, time stands still until it has caught up.
    """

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._millisecond, self._count, self._prefix = -1, 0, ""
        self._draw()
        os.register_at_fork(after_in_child=self._draw)

    def mint(self, n: int) -> list[str]:
        """`n` new ids."""
        with self._lock:
            self._advance(self._clock() // 1_000_000)
            ids: list[str] = []
            while True:
                start = self._count
                stop = self._count = min(start + n - len(ids), _COUNTS)
                prefix, token, pairs = self._prefix, self._token, _PAIRS
                ids += [f"{prefix}{pairs[i >> 10]}{pairs[i & 1023]}{token}" for i in range(start, stop)]
                if len(ids) == n:
                    return ids
                self._advance(self._millisecond + 1)

    def _advance(self, millisecond: int) -> None:
        if millisecond > self._millisecond:
            self._millisecond, self._count = millisecond, 0
            self._prefix = _write(millisecond, 9)

    def _draw(self) -> None:
        self._token = _write(secrets.randbits(35), 7)
        self._lock = threading.Lock()  # a fork may have copied it held


def _write(number: int, length: int) -> str:
    return "".join(_DIGITS[number >> 5 * i & 31] for i in reversed(range(length)))


_mint = IdMint()


def mint_ids(n: int) -> list[str]:
    """`n` new prediction ids, sorted."""
    return _mint.mint(n)
