"""What one worker process holds: the versions, the way through the batcher into the log, keys, meters."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from serving.access import Access, find_keys
from serving.asgi import Answer
from serving.batcher import Batcher, Share, Turn
from serving.drift import DriftGauges
from serving.errors import Refusal, UnanswerableRow
from serving.live_model import LiveModel
from serving.log import PredictionLog, find_store, refuse_unlogged
from serving.metrics import CANARY_FAILURES, LogMeter, ModelMeter, RequestMeter, forget_dead_workers
from serving.parity_check import HEADER, read_question, refuse_absent
from serving.pulse import Pulse
from serving.roster import Roster
from serving.routing import STICKY_LENGTH, Request
from serving.schema import Row
from serving.settings import Settings
from serving.shadow import Beside, ShadowRunner
from serving.trial import Trial
from serving.versions import Versions
from tideline.contracts import TidelineError
from tideline.predlog import Store

PATIENCE = 60.0  # seconds for a look at the log: one at millions of rows takes its time, one that hangs is given up
LAST_PATIENCE = 1.0  # when the server ends

logger = logging.getLogger("bentoml.tideline")
T = TypeVar("T")


class Worker:
    """Loads the champion, begins to log and to follow the registry; `close` it after the last answer.

    Raises TidelineError if there is no champion, its bundle is broken, or the store's URL is none.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        forget_dead_workers()
        self.versions = Versions(settings)
        self.access = Access(find_keys(settings), settings.open, settings.workers, self.versions.token)
        self.request_meter = RequestMeter()
        self.log: PredictionLog | None = None
        self.store: Store | None = None
        self.drift: DriftGauges | None = None
        quick = [self.access.follow, self.request_meter.sync]
        if settings.log:
            self.log = PredictionLog(settings)
            self.log.open()
            self.log_meter = LogMeter()
            self.store = find_store(settings)
            self.store.watch(PATIENCE)
            self._shadows = ShadowRunner(self.log)
            quick.append(self._measure_log)
        # One for the page's look at the versions, one for an admin: nobody else waits for a store that hangs.
        self._asking = ThreadPoolExecutor(max_workers=2, thread_name_prefix="asking")
        self._batcher = Batcher(self.log, ModelMeter().observe, settings.max_pending_rows)
        trial = Trial(settings, self.versions, self.store)
        # Loading a version takes its time, and so does asking the log.
        acts: list[list[Callable[[], None]]] = [quick, [self.versions.follow], [trial.act]]
        if self.store is not None:
            self.drift = DriftGauges(self.store, self.versions)
            acts.append([self.drift.act])
        self._pulses = [Pulse(*each) for each in acts]
        for pulse in self._pulses:
            pulse.start()

    def close(self) -> None:
        """Finish what has begun, and write what waits."""
        for pulse in self._pulses:
            pulse.stop()
        if self.store is not None:
            self.store.hurry(LAST_PATIENCE)
        for pulse in self._pulses:
            pulse.close()
        self._asking.shutdown(cancel_futures=True)
        self._batcher.close()
        self.request_meter.sync()
        if self.log is not None:
            self._shadows.close()
            self.log.close()
            self._measure_log()
        if self.store is not None:
            self.store.close()

    @property
    def is_ready(self) -> bool:
        """True unless each prediction would be refused because it cannot be logged."""
        return self.log is None or self.log.takes_records

    async def answer(
        self, request: Request, answer: Callable[[LiveModel, Turn], Awaitable[Answer]], version: str | None = None
    ) -> Answer:
        """What `answer` makes of the version that this request is given to, or of the `version` that it names.

        Where a canary fails that was not named, the champion answers instead, and it is counted against the canary.
        What was refused, took too long (the log may have kept it waiting) or was given up by its client counts for
        neither. Raises Refusal.
        """
        roster = self.versions.current
        live, turn = self._choose(request, version, roster)
        if version is not None or turn.role is None or not roster.canaries:
            return await answer(live, turn)
        if turn.role != "canary":
            try:
                told = await answer(live, turn)
            except Refusal:
                raise
            except Exception:
                roster.count(live.version, failed=True)
                raise
            roster.count(live.version)
            return told
        try:
            told = await answer(live, turn)
        except Refusal as refusal:
            if refusal.status != 422:
                raise
            error: Exception = refusal
        except Exception as other:
            error = other
        else:
            roster.count(live.version)
            return told
        instead = roster.champion.model
        told = await answer(instead, Turn(instead, "champion", turn.key))
        # The champion could answer it, so it was not the request's fault.
        roster.count(instead.version)
        roster.count(live.version, failed=True)
        CANARY_FAILURES.labels(live.version).inc()
        logger.warning("canary %s failed, %s answered: %s", live.version, instead.version, error)
        return told

    async def predict(self, turn: Turn, rows: Sequence[Row], route: str, arrived: float) -> Share:
        """Answers of one request's rows, which the log has. Raises Refusal."""
        try:
            if turn.role is None:
                answers = await asyncio.get_running_loop().run_in_executor(None, turn.model.predict, rows)
                return Share(answers, 0, len(rows), None)
            share = await self._batcher.submit(turn, rows, route, arrived)
        except UnanswerableRow as error:
            message = "the model gives no finite number for this row: its values lie outside of what it can compute"
            raise Refusal(422, f"rows[{error.row}]", message) from error
        except TidelineError as error:
            raise refuse_unlogged(error) from error
        roster = self.versions.current
        if roster.shadows and share.ids is not None and isinstance(turn.model, LiveModel):
            shadows = [served.model for served in roster.shadows]
            self._shadows.offer(Beside(turn.model, shadows, rows, share.ids, route, turn.key))
        return share

    def _choose(self, request: Request, version: str | None, roster: Roster) -> tuple[LiveModel, Turn]:
        question = request.headers.get(HEADER)
        if question:
            named = read_question(question, self.versions.token)
            candidate = self.versions.find(named)
            if candidate is None:
                raise refuse_absent(named)
            return candidate, Turn(candidate, None)
        key = request.headers.get(b"x-sticky-key")
        sticky = read_sticky_key(key) if key else None
        live, role = roster.choose(sticky) if version is None else roster.find(version)
        return live, Turn(live, role, sticky)

    async def run_in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """What `work` returns, called off the event loop, in the thread of large requests."""
        return await self._batcher.run_in_thread(work, *arguments)

    async def ask_store(self, work: Callable[..., T], *arguments: Any) -> T:
        """What `work` returns, which may have to wait for registry and store, called in threads of its own."""
        return await asyncio.get_running_loop().run_in_executor(self._asking, work, *arguments)

    def _measure_log(self) -> None:
        assert self.log is not None
        self.log_meter.sync(self.log.state)


def read_sticky_key(header: bytes) -> str:
    """The header `x-sticky-key`: requests with the same one are answered by the same version. Raises Refusal."""
    key = header.decode("latin-1")
    if len(key) > STICKY_LENGTH or not key.isprintable():
        message = f"expected at most {STICKY_LENGTH} printable characters"
        raise Refusal(422, "header x-sticky-key", message, {"type": "string", "maxLength": STICKY_LENGTH})
    return key
