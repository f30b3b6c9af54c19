"""What one worker process holds: the versions, the way through the batcher into the log, keys, meters."""

from __future__ import annotations

from collections.abc import Sequence

from serving.access import Access, find_keys
from serving.batcher import Batcher, Share, Turn
from serving.champion import Champion
from serving.errors import Refusal, UnanswerableRow
from serving.log import PredictionLog, refuse_unlogged
from serving.metrics import LogMeter, ModelMeter, RequestMeter, forget_dead_workers
from serving.pulse import Pulse
from serving.routing import Request
from serving.schema import Row
from serving.settings import Settings
from serving.versions import Versions
from tideline.contracts import TidelineError

STICKY_LENGTH = 200


class Worker:
    """Loads the champion, begins to log and to follow the registry; `close` it after the last answer.

    Raises TidelineError if there is no champion, its bundle is broken, or the store's URL is none.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        forget_dead_workers()
        self.versions = Versions(settings)
        self.access = Access(find_keys(settings), settings.open, settings.workers)
        self.request_meter = RequestMeter()
        acts = [self.versions.follow, self.access.follow, self.request_meter.sync]
        self.log: PredictionLog | None = None
        if settings.log:
            self.log = PredictionLog(settings)
            self.log.open()
            self.log_meter = LogMeter()
            acts.append(self._measure_log)
        self._batcher = Batcher(self.log, ModelMeter().observe, settings.max_pending_rows)
        self._pulse = Pulse(*acts)
        self._pulse.start()

    def close(self) -> None:
        """Finish what has begun, and write what waits."""
        self._pulse.close()
        self._batcher.close()
        self.request_meter.sync()
        if self.log is not None:
            self.log.close()
            self._measure_log()

    @property
    def is_ready(self) -> bool:
        """True unless each prediction would be refused because it cannot be logged."""
        return self.log is None or self.log.takes_records

    def choose(self, request: Request) -> tuple[Champion, Turn]:
        """The version that answers this request, and in which role. A request asks once, and is answered by it."""
        champion = self.versions.current.champion
        return champion, Turn(champion, "champion", read_sticky_key(request))

    async def predict(self, turn: Turn, rows: Sequence[Row], route: str, arrived: float) -> Share:
        """Answers of one request's rows, which the log has. Raises Refusal."""
        try:
            return await self._batcher.submit(turn, rows, route, arrived)
        except UnanswerableRow as error:
            message = "the model gives no finite number for this row: its values lie outside of what it can compute"
            raise Refusal(422, f"rows[{error.row}]", message) from error
        except TidelineError as error:
            raise refuse_unlogged(error) from error

    def _measure_log(self) -> None:
        assert self.log is not None
        self.log_meter.sync(self.log.state)


def read_sticky_key(request: Request) -> str | None:
    """The header `x-sticky-key`: requests with the same one are answered by the same version. Raises Refusal."""
    key = request.header(b"x-sticky-key")
    if len(key) > STICKY_LENGTH or not key.isprintable():
        message = f"expected at most {STICKY_LENGTH} printable characters"
        raise Refusal(422, "header x-sticky-key", message, {"type": "string", "maxLength": STICKY_LENGTH})
    return key or None
