"""The prediction and label store: every answered prediction, and what turned out to be true.

    store = open_store(store_url(home))
    with store.writer() as writer:
        ids = mint_ids(len(rows))
        await writer.submit_async([Record(...), ...])      # durable when it returns
        await writer.submit_labels_async([Label(id, 3.0)])
    for table in store.iterate("housing", since=...): ...

docs/prediction-log.md has the tables, the guarantees and the settings. Times are µs since 1970-01-01 UTC.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tideline.contracts import Column
from tideline.predlog.alerts import (
    Claim,
    Decide,
    StoredAlert,
    claim_delivery,
    count_waiting,
    raise_alerts,
    settle_delivery,
)
from tideline.predlog.database import Database
from tideline.predlog.export import Pruned, export, prune
from tideline.predlog.ids import ID_LENGTH, mint_ids
from tideline.predlog.insert import Appender
from tideline.predlog.journal import Journal
from tideline.predlog.labels import record_labels
from tideline.predlog.live import Estimate, LiveError, live_error
from tideline.predlog.read import Count, count, iterate
from tideline.predlog.records import (
    NAMED,
    Label,
    LabelAnswer,
    QueueFull,
    Receipt,
    Record,
    RecordRefused,
    Role,
    StoreUnavailable,
    to_rows,
)
from tideline.predlog.replay import Replay
from tideline.predlog.tally import NONE, Moments, Tally, tally
from tideline.predlog.verdicts import (
    StoredVerdict,
    chain_labelled,
    chain_verdicts,
    find_verdict,
    list_alarms,
    list_verdicts,
    save_verdict,
)
from tideline.predlog.watchdog import Watchdog
from tideline.predlog.windows import SKEW, count_beyond, count_labelled, find_last, find_start
from tideline.predlog.writer import CAPACITY, Writer, WriterState

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "ID_LENGTH",
    "NAMED",
    "NONE",
    "SKEW",
    "Claim",
    "Count",
    "Estimate",
    "Label",
    "LabelAnswer",
    "LiveError",
    "Moments",
    "Pruned",
    "QueueFull",
    "Receipt",
    "Record",
    "RecordRefused",
    "Role",
    "Store",
    "StoreUnavailable",
    "StoredAlert",
    "StoredVerdict",
    "Tally",
    "Writer",
    "WriterState",
    "journal_folder",
    "mint_ids",
    "open_store",
    "store_url",
]


def store_url(home: Path, environment: Mapping[str, str] = os.environ) -> str:
    """TIDELINE_STORE_URL, or the SQLite file below the project's root."""
    return environment.get("TIDELINE_STORE_URL") or f"sqlite:///{(home / 'store' / 'predictions.db').absolute()}"


def journal_folder(home: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """TIDELINE_STORE_JOURNAL, or the folder beside the default store; whether it is used is the writer's choice."""
    return Path(environment.get("TIDELINE_STORE_JOURNAL") or home / "store" / "journal").absolute()


def open_store(url: str) -> Store:
    """A store that was reached, with its tables made or brought up to date.

    Raises StoreUnavailable, or TidelineError for a bad URL or a store that a newer tideline wrote.
    """
    store = Store(url)
    store.check()
    return store


class Store:
    """A store by URL; nothing is opened before it is used. Safe to use from several threads.

    Every method may raise StoreUnavailable. Raises TidelineError for a URL that is neither SQLite's nor PostgreSQL's.
    """

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self._watchdog: Watchdog | None = None

    def watch(self, seconds: float) -> None:
        """From now on, a PostgreSQL that takes longer than that to answer is cut off: StoreUnavailable. For
        threads that must not wait for ever, each of which asks one thing at a time."""
        self._watchdog = self.database.guard = Watchdog(self.database, seconds)
        self._watchdog.start()

    def hurry(self, seconds: float) -> None:
        """Whoever waits for a store that is watched waits no longer than that: the process is about to end."""
        if self._watchdog is not None:
            self._watchdog.hurry(seconds)

    @property
    def place(self) -> str:
        """The URL without its password."""
        return self.database.place

    def check(self) -> None:
        """Reach the store, make its tables or bring them up to date."""
        with self.database.connect():
            pass

    def writer(self, journal: Path | None = None, capacity: int = CAPACITY) -> Writer:
        """A writer that is not started yet; see `Writer`."""
        return Writer(self.database, journal, capacity)

    def append(self, records: Sequence[Record]) -> None:
        """Write records in one transaction, here and now; for scripts and tests, a server has a `writer`."""
        with Appender(self.database) as appender:
            appender.append(to_rows(records))

    def record_labels(self, labels: Sequence[Label], source: str = "", now: int | None = None) -> list[LabelAnswer]:
        """See `labels.record_labels`; a server has `Writer.submit_labels`."""
        return record_labels(self.database, labels, source, now)

    def iterate(
        self,
        task: str,
        since: int | None = None,
        until: int | None = None,
        version: str | None = None,
        role: Role | None = None,
        columns: Sequence[Column] | None = None,
        labelled: bool = False,
    ) -> Iterator[pa.Table]:
        """See `read.iterate`."""
        return iterate(self.database, task, since, until, version, role, columns, labelled)

    def live_error(self, task: str, since: int | None = None, until: int | None = None) -> list[LiveError]:
        """See `live.live_error`."""
        return live_error(self.database, task, since, until)

    def tally(self, task: str, since: int) -> list[Tally]:
        """See `tally.tally`."""
        return tally(self.database, task, since)

    def save_verdict(self, verdict: StoredVerdict, replaces: int | None = None) -> None:
        """See `verdicts.save_verdict`."""
        save_verdict(self.database, verdict, replaces)

    def chain_verdicts(self, task: str, version: str, first: int, length: int, least: int = 0) -> list[StoredVerdict]:
        """See `verdicts.chain_verdicts`."""
        return chain_verdicts(self.database, task, version, first, length, least)

    def chain_labelled(self, task: str, version: str, first: int, length: int) -> list[StoredVerdict]:
        """See `verdicts.chain_labelled`."""
        return chain_labelled(self.database, task, version, first, length)

    def list_verdicts(
        self, task: str, version: str | None = None, limit: int = 100, until: int | None = None
    ) -> list[StoredVerdict]:
        """See `verdicts.list_verdicts`."""
        return list_verdicts(self.database, task, version, limit, until)

    def list_alarms(self, task: str, first: int, last: int) -> list[StoredVerdict]:
        """See `verdicts.list_alarms`."""
        return list_alarms(self.database, task, first, last)

    def find_verdict(
        self, task: str, version: str, known: int | None = None, until: int | None = None
    ) -> tuple[int, StoredVerdict] | None:
        """See `verdicts.find_verdict`."""
        return find_verdict(self.database, task, version, known, until)

    def raise_alerts(
        self, task: str, source: str, rule: str, channels: Sequence[str], decide: Decide
    ) -> list[StoredAlert]:
        """See `alerts.raise_alerts`."""
        return raise_alerts(self.database, task, source, rule, channels, decide)

    def claim_delivery(self, channels: Sequence[str], now: int, until: int) -> Claim | None:
        """See `alerts.claim_delivery`."""
        return claim_delivery(self.database, channels, now, until)

    def settle_delivery(self, claim: Claim, sent: int | None, error: str = "") -> None:
        """See `alerts.settle_delivery`."""
        settle_delivery(self.database, claim, sent, error)

    def count_waiting(self) -> dict[str, int]:
        """See `alerts.count_waiting`."""
        return count_waiting(self.database)

    def find_last(self, task: str, version: str, until: int | None = None) -> int | None:
        """See `windows.find_last`."""
        return find_last(self.database, task, version, until)

    def find_start(
        self, task: str, version: str, rows: int, until: int | None = None, labelled: bool = False
    ) -> int | None:
        """See `windows.find_start`."""
        return find_start(self.database, task, version, rows, until, labelled)

    def count_beyond(self, task: str, version: str, moment: int) -> tuple[int, int | None]:
        """See `windows.count_beyond`."""
        return count_beyond(self.database, task, version, moment)

    def count_labelled(self, task: str, version: str, since: int, until: int) -> int:
        """See `windows.count_labelled`."""
        return count_labelled(self.database, task, version, since, until)

    def counts(self) -> list[Count]:
        """What is in the log, by task, version and role."""
        return count(self.database)

    def export(
        self,
        task: str,
        out: Path,
        since: int | None = None,
        until: int | None = None,
        version: str | None = None,
        columns: Sequence[Column] | None = None,
        progress: Callable[[int], object] = lambda rows: None,
    ) -> int:
        """See `export.export`."""
        return export(self.database, task, out, since, until, version, columns, progress)

    def prune(
        self,
        task: str,
        older_than: timedelta,
        progress: Callable[[int], object] = lambda rows: None,
        warn: Callable[[int], object] = lambda rows: None,
    ) -> Pruned:
        """See `export.prune`."""
        return prune(self.database, task, older_than, progress, warn)

    def replay(self, journal: Path) -> int:
        """Write what a journal holds into the store; how many rows. For a journal whose server is gone for good."""
        replay = Replay(Journal(journal))
        with Appender(self.database) as appender:
            while replay.step(appender):
                pass
        return replay.rows

    def close(self) -> None:
        """Close the connections."""
        if self._watchdog is not None:
            self._watchdog.close()
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
