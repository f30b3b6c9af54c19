"""POST /feedback: labels in, what became of each out."""

from __future__ import annotations

from serving.asgi import Answer, read_json
from serving.feedback import LabelDecoder, encode_answers
from serving.log import PredictionLog, refuse_unlogged
from serving.routing import Request, Route
from serving.worker import Worker
from tideline.contracts import TidelineError


class FeedbackRoutes:
    """What turned out to be true; only where predictions are logged."""

    def __init__(self, worker: Worker, log: PredictionLog) -> None:
        self._worker, self._log = worker, log
        self._decoder = LabelDecoder(worker.settings.max_labels)
        self.routes = [Route("/feedback", "POST", self._take, needs="feedback")]

    async def _take(self, request: Request) -> Answer:
        settings = self._worker.settings
        body = await read_json(request, settings.max_body_bytes, settings.timeout)
        labels = self._decoder.decode(body)
        try:
            answers = await self._log.take_labels(labels, request.key)
        except TidelineError as error:
            raise refuse_unlogged(error) from error
        self._worker.log_meter.observe_labels(answers)
        return Answer(200, encode_answers(answers))
