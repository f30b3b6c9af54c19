"""From the journal into the store, a bounded step at a time, so that new predictions need not wait for old ones."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import msgspec

from tideline.predlog.insert import Appender
from tideline.predlog.journal import Journal, Segment
from tideline.predlog.records import RecordRefused, Row, StoreUnavailable, unpack_rows

STEP_ROWS = 1_000
SCAN_SECONDS = 5.0  # how soon the segments of a process that died are noticed

logger = logging.getLogger("tideline.predlog")


class Replay:
    """Writes what waits in the journal into the store. A row that is there already is left alone, so that a replay
    which was interrupted may begin again."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.rows = 0  # written so far
        self._segments: Iterator[Segment] | None = None
        self._segment: Segment | None = None
        self._next_scan = 0.0

    def step(self, appender: Appender) -> bool:
        """Write about `STEP_ROWS` rows; True if there is more to do at once. Raises StoreUnavailable."""
        if self._segment is None and not self._claim():
            return False
        assert self._segment is not None
        try:
            self._write(appender, self._segment)
        except StoreUnavailable:
            self.interrupt()
            raise
        if not self._segment.payloads:
            self._segment.finish()
            self._segment = None
        return True

    def interrupt(self, seconds: float = 0.0) -> None:
        """Leave what is not written yet for a step that comes later than in `seconds`."""
        if self._segment is not None:
            self._segment.release()
        self._segment = self._segments = None
        self._next_scan = time.monotonic() + seconds

    def _claim(self) -> bool:
        if self._segments is None:
            if time.monotonic() < self._next_scan:
                return False
            self._next_scan = time.monotonic() + SCAN_SECONDS
            self._segments = self.journal.claim()
        self._segment = next(self._segments, None)
        if self._segment is None:
            self._segments = None
            return False
        logger.info("%s is written to the store", self._segment.path)
        return True

    def _write(self, appender: Appender, segment: Segment) -> None:
        rows: list[Row] = []
        taken = 0
        while taken < len(segment.payloads) and len(rows) < STEP_ROWS:
            try:
                rows += unpack_rows(segment.payloads[taken])
            except msgspec.DecodeError as error:
                self._spoil(segment, str(error))
            taken += 1
        try:
            appender.append(rows)
            self.rows += len(rows)
        except RecordRefused:
            for row in rows:
                self._write_one(appender, segment, row)
        del segment.payloads[:taken]

    def _write_one(self, appender: Appender, segment: Segment, row: Row) -> None:
        try:
            appender.append([row])
            self.rows += 1
        except RecordRefused as error:
            self._spoil(segment, str(error))

    def _spoil(self, segment: Segment, reason: str) -> None:
        segment.is_spoilt = True
        logger.error("%s: the store does not take a record (%s); the file will be kept aside", segment.path, reason)
