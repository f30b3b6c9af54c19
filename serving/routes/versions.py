"""The versions of the registry: what there is and how it does, for anybody; to change it, for an admin's key."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import msgspec

from serving.asgi import Answer, read_json
from serving.decode_errors import explain_malformed, split_error
from serving.errors import Refusal
from serving.routing import Request, Route
from serving.worker import Worker
from tideline.champion import read_manifest
from tideline.contracts import TidelineError
from tideline.file_lock import LockHeldError
from tideline.layout import Layout
from tideline.live_report import measure_trial
from tideline.pointer import read_pointer
from tideline.predlog import StoreUnavailable
from tideline.registry import rollback, status
from tideline.rollout import end_trial, promote_canary, set_share
from tideline.verdict import Verdict

LOCK_PATIENCE = 3.0  # seconds that an act waits for another writer: one that was told 504 must not happen after that
FRESH_SECONDS = 1.0  # pages ask often; log and disk are asked no oftener than that

logger = logging.getLogger("bentoml.tideline")


class Act(msgspec.Struct, forbid_unknown_fields=True):
    """What an admin asks for: a version, and why."""

    version: str
    reason: str = ""


class ShareAct(Act, kw_only=True):
    """The same with a share of the requests."""

    share: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]


class VersionRoutes:
    """Only where there is a registry."""

    def __init__(self, worker: Worker, layout: Layout) -> None:
        self._worker, self._layout = worker, layout
        self._models: dict[str, dict[str, Any]] = {}
        self._patience = min(LOCK_PATIENCE, worker.settings.timeout / 3)
        self._listed: tuple[float, bytes] = (0.0, b"")
        self._looking: asyncio.Task[Refusal | None] | None = None
        acts: dict[str, tuple[Callable[[Any, dict[str, Any]], Verdict], type[Act]]] = {
            "promote": (self._promote, Act),
            "rollback": (self._rollback, Act),
            "share": (self._share, ShareAct),
            "end": (self._end, Act),
        }
        self.routes = [Route("/versions", "GET", self._list)]
        for name, (act, form) in acts.items():
            handle = partial(self._act, act, msgspec.json.Decoder(form))
            self.routes.append(Route(f"/versions/{name}", "POST", handle, needs="admin"))

    async def _list(self, request: Request) -> Answer:
        if time.monotonic() >= self._listed[0]:
            if self._looking is None or self._looking.done():
                self._looking = asyncio.ensure_future(self._look())
            # One look for all who ask, which goes on if they leave: a store that hangs keeps one thread, not many.
            refusal = await asyncio.shield(self._looking)
            if refusal is not None:
                raise refusal
        return Answer(200, self._listed[1])

    async def _look(self) -> Refusal | None:
        start = time.monotonic()
        try:
            told = await self._worker.ask_store(self._describe)
        except TidelineError as error:
            return self._refuse("registry", error)
        now = time.monotonic()
        self._listed = now + max(FRESH_SECONDS, 20 * (now - start)), msgspec.json.encode(told)
        return None

    async def _act(
        self, act: Callable[[Any, dict[str, Any]], Verdict], decoder: msgspec.json.Decoder[Any], request: Request
    ) -> Answer:
        settings = self._worker.settings
        body = await read_json(request, settings.max_body_bytes, settings.timeout)
        try:
            asked = decoder.decode(body)
        except msgspec.ValidationError as error:
            text, place = split_error(str(error))
            raise Refusal(422, place.lstrip(".") or "body", text.replace("`", "")) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise explain_malformed(error, body, "version") from None
        by = {"by": request.key}
        try:
            verdict = await self._worker.ask_store(act, asked, by)
        except LockHeldError as error:
            headers = {"retry-after": str(math.ceil(LOCK_PATIENCE))}
            message = f"process {error.holder} changes the registry now, so nothing was done; come again"
            raise Refusal(409, "registry", message, None, headers) from error
        except TidelineError as error:
            raise self._refuse("version", error) from error
        logger.warning("%s: %s %s by key %r", self._layout.task, verdict.action, verdict.version, request.key)
        self._listed = 0.0, b""
        done = {"action": verdict.action, "version": verdict.version, "reasons": verdict.reasons}
        return Answer(200, msgspec.json.encode(done))

    def _refuse(self, path: str, error: TidelineError) -> Refusal:
        """What the registry says, without where it lies on this machine."""
        return Refusal(409, path, str(error).replace(f"{self._worker.settings.home}/", ""))

    def _promote(self, asked: Act, by: dict[str, Any]) -> Verdict:
        return promote_canary(
            self._layout, asked.version, asked.reason, {**by, "live": self._measure()}, patience=self._patience
        )

    def _rollback(self, asked: Act, by: dict[str, Any]) -> Verdict:
        return rollback(self._layout, asked.version, asked.reason, by, patience=self._patience)

    def _share(self, asked: ShareAct, by: dict[str, Any]) -> Verdict:
        return set_share(self._layout, asked.version, asked.share, by, patience=self._patience)

    def _end(self, asked: Act, by: dict[str, Any]) -> Verdict:
        return end_trial(
            self._layout, asked.version, asked.reason, {**by, "live": self._measure()}, patience=self._patience
        )

    def _describe(self) -> dict[str, Any]:
        state, served = status(self._layout), self._worker.versions.describe()
        roles = {c["version"]: c for c in served["challengers"]}
        versions = [
            {
                "version": name,
                "role": "champion" if name == state.champion else roles.get(name, {}).get("role"),
                "was_champion": name in state.line,
                **self._describe_model(name),
            }
            for name in reversed(state.versions)
        ]
        home = f"{self._worker.settings.home}/"
        return {
            "task": state.task,
            "champion": state.champion,
            "since": state.since,
            "previous": state.previous,
            "router": served["router"],
            "pending_error": served["pending_error"],
            "challengers": served["challengers"],
            "versions": versions,
            "live": self._measure(),
            "warnings": [text.replace(home, "") for text in state.warnings],
        }

    def _describe_model(self, version: str) -> dict[str, Any]:
        if version not in self._models:
            try:
                manifest = read_manifest(self._layout, version)
            except TidelineError:
                return {"error": "its manifest cannot be read"}
            test = manifest.metrics.get("test", {})
            score = "rmse" if manifest.problem == "regression" else "accuracy"
            told = {"model": manifest.model, "created": manifest.created, "metric": score, "score": test.get(score)}
            self._models[version] = told
        return self._models[version]

    def _measure(self) -> dict[str, Any] | None:
        pointer = read_pointer(self._layout)
        if self._worker.store is None or pointer is None:
            return None
        try:
            return measure_trial(self._worker.store, self._layout, pointer)
        except StoreUnavailable:  # the log itself says so
            return None
        except (TidelineError, ArithmeticError) as error:
            logger.error("%s: there are no live figures: %s", self._layout.task, error)
            return None
