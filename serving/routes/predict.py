"""POST /predict: rows in, predictions with intervals out, once the log has them."""

from __future__ import annotations

from serving.asgi import Answer, read_json
from serving.batcher import Turn
from serving.champion import Champion
from serving.routing import Request, Route
from serving.worker import Worker


class PredictRoutes:
    """The native API."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.routes = [Route("/predict", "POST", self._predict, needs="predict")]

    async def _predict(self, request: Request) -> Answer:
        settings = self._worker.settings
        body = await read_json(request.scope, request.receive, settings.max_body_bytes, settings.timeout)

        async def answer(champion: Champion, turn: Turn) -> Answer:
            rows = champion.decoder.decode(body)
            share = await self._worker.predict(turn, rows, "/predict", request.arrived)
            content = champion.encode(share.answers, share.start, share.stop, share.ids)
            return Answer(200, content, version=champion.version)

        return await self._worker.answer(request, answer)
