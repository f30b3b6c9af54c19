"""The versions of the registry: what there is and how it does, for anybody; to change it, for an admin's key."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from serving.asgi import Answer, read_json
from serving.errors import Refusal
from serving.routing import Request, Route
from serving.worker import Worker
from tideline.champion import read_manifest
from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.live_report import measure_trial
from tideline.pointer import read_pointer
from tideline.predlog import StoreUnavailable
from tideline.registry import rollback, status
from tideline.rollout import end_trial, promote_canary, set_share
from tideline.verdict import Verdict

FRESH_SECONDS = 1.0  # pages ask often; log and disk are asked no oftener than that

logger = logging.getLogger("bentoml.tideline")


class Act(msgspec.Struct, forbid_unknown_fields=True):
    """What an admin asks for: a version, why, and a share where one is set."""

    version: str
    reason: str = ""
    share: float | None = None


class VersionRoutes:
    """Only where there is a registry."""

    def __init__(self, worker: Worker, layout: Layout) -> None:
        self._worker, self._layout = worker, layout
        self._models: dict[str, dict[str, Any]] = {}
        self._trial: tuple[float, dict[str, Any] | None] = (-FRESH_SECONDS, None)
        self._decoder = msgspec.json.Decoder(Act)
        acts: dict[str, Callable[[Act, dict[str, Any]], Verdict]] = {
            "promote": self._promote,
            "rollback": self._rollback,
            "share": self._share,
            "end": self._end,
        }
        self.routes = [Route("/versions", "GET", self._list)]
        self.routes += [Route(f"/versions/{n}", "POST", partial(self._act, a), needs="admin") for n, a in acts.items()]

    async def _list(self, request: Request) -> Answer:
        try:
            told = await asyncio.get_running_loop().run_in_executor(None, self._describe)
        except TidelineError as error:
            raise self._refuse("registry", error) from error
        return Answer(200, msgspec.json.encode(told))

    async def _act(self, act: Callable[[Act, dict[str, Any]], Verdict], request: Request) -> Answer:
        settings = self._worker.settings
        body = await read_json(request.scope, request.receive, settings.max_body_bytes, settings.timeout)
        try:
            asked = self._decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            expected = {"version": "v0002", "reason": "why, for the ledger", "share": "0 to 1, where one is set"}
            raise Refusal(422, "body", str(error), expected) from None
        by = {"by": request.key}
        try:
            verdict = await asyncio.get_running_loop().run_in_executor(None, act, asked, by)
        except TidelineError as error:
            raise self._refuse("version", error) from error
        logger.warning("%s: %s %s by key %r", self._layout.task, verdict.action, verdict.version, request.key)
        self._trial = (-FRESH_SECONDS, None)
        done = {"action": verdict.action, "version": verdict.version, "reasons": verdict.reasons}
        return Answer(200, msgspec.json.encode(done))

    def _refuse(self, path: str, error: TidelineError) -> Refusal:
        """What the registry says, without where it lies on this machine."""
        return Refusal(409, path, str(error).replace(f"{self._worker.settings.home}/", ""))

    def _promote(self, asked: Act, by: dict[str, Any]) -> Verdict:
        return promote_canary(self._layout, asked.version, asked.reason, {**by, "live": self._measure()})

    def _rollback(self, asked: Act, by: dict[str, Any]) -> Verdict:
        return rollback(self._layout, asked.version, asked.reason, by)

    def _share(self, asked: Act, by: dict[str, Any]) -> Verdict:
        if asked.share is None:
            raise TidelineError("no share was sent; send a number above 0, at most 1")
        return set_share(self._layout, asked.version, asked.share, by)

    def _end(self, asked: Act, by: dict[str, Any]) -> Verdict:
        return end_trial(self._layout, asked.version, asked.reason, {**by, "live": self._measure()})

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
        measured, trial = self._trial
        pointer = read_pointer(self._layout)
        if self._worker.log is None or pointer is None:
            return None
        if time.monotonic() - measured >= FRESH_SECONDS:
            try:
                trial = measure_trial(self._worker.store, self._layout, pointer)
            except StoreUnavailable:
                trial = None
            self._trial = (time.monotonic(), trial)
        return trial
