"""A large request in parts: the bulk thread predicts one while the log writes the one before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING

from serving.answers import Answers
from serving.errors import UnanswerableRow
from serving.schema import Row

if TYPE_CHECKING:
    from serving.batcher import Job, Model
    from serving.log import PredictionLog

PART_ROWS = 1_024  # in one submission to the log: smaller requests get their turn in between


async def answer_parts(
    job: Job, thread: Executor, log: PredictionLog | None, observe: Callable[[Model, int], None]
) -> tuple[Answers, list[str] | None]:
    """Answers of all rows, and their ids once the log has them all; no log, no ids. `observe` is told of each part.

    Raises UnanswerableRow (counted within the request), StoreUnavailable or RecordRefused; then the log may have some
    of its rows.
    """
    loop, model = asyncio.get_running_loop(), job.turn.model
    parts = [job.rows[start : start + PART_ROWS] for start in range(0, len(job.rows), PART_ROWS)]
    writing = None if log is None else log.begin_bulk(job)
    found: list[Answers] = []
    running = loop.run_in_executor(thread, _predict, model, parts[0], 0)
    try:
        for number, part in enumerate(parts, 1):
            answers = await running
            if number < len(parts):  # before this part's records are made: the thread is not left waiting
                running = loop.run_in_executor(thread, _predict, model, parts[number], number * PART_ROWS)
            observe(model, len(part))
            found.append(answers)
            if writing is not None:
                await writing.add(part, answers)
    finally:
        running.cancel()
        if writing is not None:
            await writing.finish()
    return Answers.join(found), None if writing is None else writing.ids


def _predict(model: Model, rows: Sequence[Row], start: int) -> Answers:
    try:
        return model.predict(rows)
    except UnanswerableRow as error:
        raise UnanswerableRow(start + error.row) from error
