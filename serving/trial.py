"""Judges challengers while they run: one that is worse live than the champion is withdrawn, with nobody asked.

Errors come from the prediction log, so that all workers see the same; latencies are measured side by side, failures are
those that this worker met, and any worker may withdraw. A bandit's shares are computed here, too.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from serving.metrics import WITHDRAWN
from serving.roster import Outcomes
from serving.settings import Settings
from serving.stopwatch import Stopwatch
from serving.versions import Versions
from tideline.bandit import share_requests
from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.live_gate import Live, judge_live
from tideline.live_report import measure_trial
from tideline.live_tally import TrialTallies
from tideline.pointer import Challenger, Pointer, read_pointer
from tideline.predlog import NONE, Moments, Store, StoreUnavailable
from tideline.rollout import end_trial

EVERY_SECONDS = 2.0  # or longer, when the log is large

logger = logging.getLogger("bentoml.tideline")


class Trial:
    """`act` is called several times a second, in a thread beside the event loop. Without a store (nothing is logged)
    latency and failures are judged, errors are not known."""

    def __init__(self, settings: Settings, versions: Versions, store: Store | None) -> None:
        self._task, self._versions, self._store = settings.task, versions, store
        self._stopwatch = Stopwatch()
        self._due = 0.0

    def act(self) -> None:
        """Judge the challengers, and share requests anew, if it is time and there are any."""
        pointer, layout = self._versions.pointer, self._versions.layout
        if pointer is None or layout is None or not pointer.challengers or time.monotonic() < self._due:
            return
        start = time.monotonic()
        roster = self._versions.current
        served = {s.model.version: s.model for s in roster.everyone[1:]}
        on_trial = {(c.version, c.since): served[c.version] for c in pointer.challengers if c.version in served}
        self._stopwatch.measure(roster.champion.model, on_trial)
        self._judge(layout, pointer)
        # However large the log has become, one part in twenty of the time is spent on it.
        now = time.monotonic()
        self._due = now + max(EVERY_SECONDS, 20 * (now - start))

    def _judge(self, layout: Layout, pointer: Pointer) -> None:
        tallies: TrialTallies | None = None
        if self._store is not None:
            try:  # without the log the rest is judged all the same
                tallies = TrialTallies(self._store, self._task, pointer)
            except StoreUnavailable:
                pass  # the log itself says so
            except (TidelineError, ArithmeticError) as error:
                logger.error("%s: the errors of the trial cannot be judged: %s", self._task, error)
        for challenger in pointer.challengers:
            losses = (NONE, NONE) if tallies is None else tuple(t.loss for t in tallies.compare(challenger))
            champion, own = self._measure(challenger, *losses)
            if reasons := judge_live(champion, own, challenger.margins):
                self._withdraw(layout, pointer, challenger, reasons)
                return
        if pointer.router == "bandit" and tallies is not None and (answering := tallies.list_answering()):
            shares = share_requests([t.loss for t in answering])
            self._versions.set_shares(dict(zip((t.version for t in answering), shares, strict=True)), pointer.seq)

    def _measure(self, challenger: Challenger, champion: Moments, own: Moments) -> tuple[Live, Live]:
        """What champion and challenger did since its trial began, from their losses since then."""
        latencies = self._stopwatch.read((challenger.version, challenger.since))
        canary = self._versions.current.find_canary(challenger.version, challenger.since)
        counts = (Outcomes(), Outcomes()) if canary is None else (canary.champion, canary.own)
        first, second = (
            Live(loss, latency, count.attempts, count.failures)
            for loss, latency, count in zip((champion, own), latencies, counts, strict=True)
        )
        return first, second

    def _withdraw(self, layout: Layout, pointer: Pointer, challenger: Challenger, reasons: list[str]) -> None:
        live: dict[str, Any] = {"unknown": "nothing is logged"}
        try:
            if self._store is not None:
                live = measure_trial(self._store, layout, pointer)
        except (TidelineError, ArithmeticError) as error:
            live = {"unknown": str(error)}
        try:
            evidence = {"live": live, "reasons": reasons}
            end_trial(layout, challenger.version, "; ".join(reasons), evidence, withdrawn=True, since=challenger.since)
        except TidelineError:
            present = read_pointer(layout)
            found = None if present is None else present.find(challenger.version)
            if found is not None and found.since == challenger.since:
                raise
            return  # another worker was faster, or an admin
        WITHDRAWN.labels(self._task).inc()
        logger.warning("%s is withdrawn: %s", challenger.version, "; ".join(reasons))
