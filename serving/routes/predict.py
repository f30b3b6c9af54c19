"""POST /predict: rows in, predictions with intervals out, once the log has them."""

from __future__ import annotations

from collections.abc import Sequence

from serving.asgi import JSON, Answer, read_body
from serving.batcher import Share, Turn
from serving.columnar.media import ARROW, FORMATS, choose_format
from serving.live_model import LiveModel
from serving.routing import Request, Route
from serving.schema import Row
from serving.worker import Worker


class PredictRoutes:
    """The native API: rows as JSON, or columns as Arrow or CSV; the answer in any of the three."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.routes = [Route("/predict", "POST", self._predict, needs="predict")]

    async def _predict(self, request: Request) -> Answer:
        settings = self._worker.settings
        media, body = await read_body(request, settings.max_body_bytes, settings.timeout, FORMATS)
        accepted = choose_format(request.list_header(b"accept"))

        async def answer(live: LiveModel, turn: Turn) -> Answer:
            if media == JSON:
                rows: Sequence[Row] = live.decoder.decode(body)
            else:
                rows = await self._worker.run_in_thread(_read_columns, live, media, body)
            share = await self._worker.predict(turn, rows, "/predict", request.arrived)
            if accepted == JSON:
                content = live.encode(share.answers, share.start, share.stop, share.ids)
                return Answer(200, content, version=live.version)
            return await self._worker.run_in_thread(_write_columns, live, accepted, share)

        return await self._worker.answer(request, answer)


def _read_columns(live: LiveModel, media: str, body: bytes) -> Sequence[Row]:
    from serving.columnar.read import (  # here: a server that is asked for neither starts faster
        PLACES,
        read_arrow,
        read_csv,
    )

    columns, limit = live.decoder.columns, live.decoder.max_rows
    given = (read_arrow if media == ARROW else read_csv)(body, columns, limit)
    return live.take_columns(given, PLACES)


def _write_columns(live: LiveModel, media: str, share: Share) -> Answer:
    from serving.columnar.write import write_arrow, write_csv

    answers, names, model = share.answers.cut(share.start, share.stop), live.manifest.classes, live.byline
    arrow = media == ARROW
    content = write_arrow(answers, names, share.ids, model) if arrow else write_csv(answers, names, share.ids)
    return Answer(200, content, media, {f"x-model-{key}": value for key, value in model.items()}, live.version)
