"""What a long step says while it works: a bar on a terminal, plain lines with times elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self


def say(text: str) -> None:
    """One line for a person, at once."""
    print(text, flush=True)


class Bar:
    """Progress over `total` units; on a terminal a bar, elsewhere a line every few seconds.

    On stderr: what a command answers, such as JSON, is on stdout alone."""

    def __init__(self, total: int, label: str, every: float = 5.0) -> None:
        self.total, self.label, self.every = total, label, every
        self.done, self._start, self._last = 0, time.monotonic(), time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=label, leave=False, unit_scale=True)

    def update(self, n: int = 1, note: str = "") -> None:
        """`n` more units are done."""
        self.done += n
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(n)
        elif time.monotonic() - self._last >= self.every:
            self._last = time.monotonic()
            share = f"{self.done:,}/{self.total:,}" if self.total else f"{self.done:,}"
            said = f"    {self.label}: {share} after {self._last - self._start:.0f} s {note}".rstrip()
            print(said, file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()


class Log:
    """The voice of one stage."""

    def __init__(self, name: str) -> None:
        self.name, self._start = name, time.monotonic()

    def say(self, text: str) -> None:
        """One indented line."""
        say(f"  {text}")

    def bar(self, total: int, label: str) -> Bar:
        """A bar to be used as a context manager."""
        return Bar(total, label)

    @property
    def seconds(self) -> float:
        """Seconds since the stage began."""
        return time.monotonic() - self._start


@contextmanager
def stage(name: str, task: str, model: str = "") -> Iterator[Log]:
    """Announce a stage, and what it cost when it ends."""
    title = " ".join(filter(None, (name, task, model)))
    say(f"== {title}")
    log = Log(title)
    try:
        yield log
    except BaseException:
        say(f"== {title}: stopped after {log.seconds:.1f} s")
        raise
    say(f"== {title}: done in {log.seconds:.1f} s")
