"""/v2: the Open Inference Protocol. A model's name is its task, its version the registry's."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from serving.asgi import JSON, Answer, read_body
from serving.batcher import Turn
from serving.errors import Refusal
from serving.live_model import INLINE_ROWS, LiveModel
from serving.routing import Request, Route
from serving.schema import Row
from serving.v2.metadata import SERVER, describe_model
from serving.v2.request import InferRequest, read_request
from serving.v2.response import BINARY, choose_outputs, list_outputs, write_response
from serving.v2.tensors import PLACES, read_columns
from serving.worker import Worker
from tideline.predlog import NAMED

MODEL, VERSION = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
LOGGED_AS = "/v2/infer"
_INLINE_BYTES = 32_768  # a larger body is read off the event loop


class V2Routes:
    """Health and metadata for anybody, inference for keys that may predict."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.routes = [
            Route("/v2", "GET", self._describe_server),
            Route("/v2/health/live", "GET", self._show_live),
            Route("/v2/health/ready", "GET", self._show_ready),
        ]
        for place in (MODEL, VERSION):
            self.routes += [
                Route(place, "GET", self._describe_model),
                Route(f"{place}/ready", "GET", self._show_model_ready),
                Route(f"{place}/infer", "POST", self._infer, needs="predict"),
            ]

    async def _describe_server(self, request: Request) -> Answer:
        return Answer(200, msgspec.json.encode(SERVER))

    async def _show_live(self, request: Request) -> Answer:
        return Answer(200, b'{"live":true}')

    async def _show_ready(self, request: Request) -> Answer:
        self._check_ready()
        return Answer(200, b'{"ready":true}')

    async def _describe_model(self, request: Request) -> Answer:
        live = self._find(request)
        return Answer(200, msgspec.json.encode(describe_model(live, self._worker.log is not None)))

    async def _show_model_ready(self, request: Request) -> Answer:
        live = self._find(request)
        self._check_ready()
        return Answer(200, msgspec.json.encode({"name": live.task, "ready": True}))

    async def _infer(self, request: Request) -> Answer:
        worker, settings = self._worker, self._worker.settings
        _, body = await read_body(request, settings.max_body_bytes, settings.timeout, (JSON, BINARY), BINARY)
        self._check_name(request)
        length = request.header(b"inference-header-content-length")
        is_small = len(body) <= _INLINE_BYTES

        version = request.names.get("version")
        route = LOGGED_AS if version is None else NAMED

        async def answer(live: LiveModel, turn: Turn) -> Answer:
            asked, rows = (
                _read(live, body, length) if is_small else await worker.run_in_thread(_read, live, body, length)
            )
            chosen = choose_outputs(asked, list_outputs(live.manifest, worker.log is not None))
            share = await worker.predict(turn, rows, route, request.arrived)
            answers = share.answers.cut(share.start, share.stop)
            whole = live.manifest, live.version, asked, chosen, answers, share.ids
            return (
                write_response(*whole)
                if len(rows) <= INLINE_ROWS
                else await worker.run_in_thread(write_response, *whole)
            )

        return await worker.answer(request, answer, version)

    def _find(self, request: Request) -> LiveModel:
        self._check_name(request)
        roster, version = self._worker.versions.current, request.names.get("version")
        return roster.champion.model if version is None else roster.find(version)[0]

    def _check_name(self, request: Request) -> None:
        name, task = request.names["name"], self._worker.versions.current.champion.model.task
        if name != task:
            raise Refusal(404, "model", f"there is no model {name[:60]!r}; {task} is served", [task])

    def _check_ready(self) -> None:
        if not self._worker.is_ready:
            raise Refusal(503, "", "predictions cannot be logged now; come again", None, {"retry-after": "1"})


def _read(live: LiveModel, body: bytes, length: str) -> tuple[InferRequest, Sequence[Row]]:
    request, sent = read_request(body, length)
    return request, live.take_columns(read_columns(request, sent, live.decoder.columns), PLACES)
