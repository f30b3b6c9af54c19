"""What a worker does beside answering: a few small acts, several times a second, in a thread of their own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from tideline.contracts import TidelineError

EVERY_SECONDS = 0.2

logger = logging.getLogger("bentoml.tideline")


class Pulse:
    """Calls `acts` one after the other until it is closed. One that raises is logged, and called again."""

    def __init__(self, *acts: Callable[[], None]) -> None:
        self._acts = acts
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no further act."""
        self._closing.set()

    def close(self) -> None:
        """Stop after the act that is under way."""
        self.stop()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(EVERY_SECONDS):
            for act in self._acts:
                try:
                    act()
                except TidelineError as error:
                    logger.error("%s", error)
                except Exception:
                    logger.exception("%s failed; it is tried again", act)
