"""The monitor on real stores: a window is read, judged, kept; the command tells the same to a shell."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.predlog.samples import START
from tests.small_registry import PARAMS, submit
from tests.small_task import PETS, RENT, make_frame, ship, write_project
from tideline import cli, monitor
from tideline.alerts import send_alerts
from tideline.bookkeeping import find_since
from tideline.bundle import Bundle, load_bundle
from tideline.champion import champion_bundle
from tideline.contracts import Task, TidelineError
from tideline.layout import Layout
from tideline.monitor import Span
from tideline.monitor.log import read_window
from tideline.monitor.records import ESTIMATE, LabelledSpan
from tideline.monitor.reference import Reference
from tideline.monitor.show import describe_window
from tideline.predictor import Predictor, columns_from_frame
from tideline.predlog import Label, Record, Store, mint_ids, open_store
from tideline.progress import Bar
from tideline.retraining.facts import look_around, read_alarms

SECOND = 1_000_000


def log_rows(
    store: Store,
    bundle: Bundle,
    task: Task,
    frame: pd.DataFrame,
    start: int = START,
    labels: bool = True,
    **changes: Any,
) -> list[Record]:
    """Answer rows and log them as a server does, one a second, with a label an hour later."""
    answers = Predictor(bundle).predict(columns_from_frame(task, frame))
    plain = frame[list(task.feature_names)].astype(object).where(frame[list(task.feature_names)].notna(), None)
    records = []
    for i, (name, row) in enumerate(zip(mint_ids(len(frame)), plain.to_dict("records"), strict=True)):
        row["day"] = str(np.datetime64(int(row["day"]), "D"))
        told: dict[str, Any] = {
            "prediction": float(answers.values[i]),
            "intervals": {str(b.level): [float(b.lower[i]), float(b.upper[i])] for b in answers.intervals},
        }
        if answers.names:
            told = {
                "predicted_class": answers.classes[i],
                "probabilities": dict(zip(answers.names, answers.probabilities[i].tolist(), strict=True)),
                "intervals": {
                    str(s.level): [c for c, m in zip(answers.names, s.members[i], strict=True) if m]
                    for s in answers.sets
                },
            }
        told = {"version": bundle.path.name, "role": "champion", "features": row, **told, **changes}
        records.append(Record(name, "r", start + i * SECOND, task.name, **told))
    store.append(records)
    if labels:
        values = [v if isinstance(v, str) else float(v) for v in frame[task.target.name]]
        store.record_labels(
            [Label(r.prediction_id, v) for r, v in zip(records, values, strict=True)], now=start + 3_600 * SECOND
        )
    return records


@pytest.fixture
def champion(layout: Layout) -> Bundle:
    assert submit(layout, "better").accepted
    return load_bundle(champion_bundle(layout))


def run(
    layout: Layout, store: Store, span: Span | None = None, now: int = START + 900 * SECOND
) -> monitor.WindowVerdict:
    return monitor.monitor(PARAMS, layout, store, span, now)


def test_quiet_window_is_read_judged_and_kept(store: Store, layout: Layout, champion: Bundle) -> None:
    log_rows(store, champion, RENT, make_frame(800, seed=5))
    log_rows(store, champion, RENT, make_frame(300, seed=6).assign(size=99.0), role="shadow")  # is not the champion's
    verdict = run(layout, store, Span(since=START))
    assert (verdict.rows, verdict.status, verdict.version) == (800, "quiet", champion.path.name)
    assert (verdict.first, verdict.last) == (START, START + 799 * SECOND)
    assert verdict.errors.labelled == 800 and verdict.errors.lag == pytest.approx(3_600 - 799 / 2)
    assert verdict.errors.realised == pytest.approx(verdict.errors.reference, rel=0.15)
    assert verdict.errors.estimated == pytest.approx(verdict.errors.reference, rel=0.15)
    assert verdict.errors.coverage["0.8"] == pytest.approx(0.8, abs=0.05)
    assert {c.subject for c in verdict.checks} >= {"size", "floor", "kind", "day", "prediction", "served answers"}
    assert monitor.list_history(store, "rent") == [verdict]


def test_last_rows_are_the_window_and_broken_ones_an_alarm_at_once(
    store: Store, layout: Layout, champion: Bundle
) -> None:
    log_rows(store, champion, RENT, make_frame(600, seed=5), labels=False)
    broken = make_frame(300, seed=6)
    broken["size"] = np.where(np.arange(300) % 2 == 0, np.nan, broken["size"])
    log_rows(store, champion, RENT, broken, START + 600 * SECOND, labels=False)
    assert run(layout, store, Span(until=START + 600 * SECOND)).rows == PARAMS.monitoring.rows == 500
    verdict = run(layout, store, Span(rows=300))
    assert verdict.rows == 300 and verdict.first == START + 600 * SECOND
    alarms = {(c.subject, c.test) for c in verdict.alarms}
    assert alarms == {("size", "missing_share")}
    (check,) = verdict.alarms
    assert check.effect == pytest.approx(0.45, abs=0.06)
    first, last = START + 600 * SECOND, START + 899 * SECOND
    for span in ((first, first), (last, last + SECOND), (first + SECOND, last - SECOND), (START, last + SECOND)):
        assert monitor.list_alarms(store, "rent", *span) == [verdict]
    for task, *others in (("rent", START, first - 1), ("rent", last + 1, last + SECOND), ("pets", first, last)):
        assert monitor.list_alarms(store, task, *others) == []


def test_drift_is_an_alarm_in_the_third_window_whose_rows_are_new(
    store: Store, layout: Layout, champion: Bundle
) -> None:
    frame = make_frame(900, seed=7)
    frame["size"] = frame["size"] / 2
    log_rows(store, champion, RENT, frame, labels=False)
    parts = [Span(START + i * 300 * SECOND, START + (i + 1) * 300 * SECOND) for i in range(3)]
    states = [run(layout, store, part).status for part in (parts[0], parts[0], parts[1], parts[1], parts[2])]
    assert states == ["watch", "watch", "watch", "watch", "alarm"]


def test_drift_is_an_alarm_however_often_windows_that_overlap_are_judged(
    store: Store, layout: Layout, champion: Bundle
) -> None:
    """As at low traffic on the quarter of an hour: more verdicts that overlap than a list of the latest would hold."""
    frame = make_frame(600, seed=7)
    frame["size"] = frame["size"] / 2
    log_rows(store, champion, RENT, frame, labels=False)
    params = replace(PARAMS, monitoring=replace(PARAMS.monitoring, rows=200, skew_rows=0))

    def judge(row: int) -> monitor.WindowVerdict:
        return monitor.monitor(params, layout, store, Span(until=START + row * SECOND), START + 900 * SECOND)

    assert [judge(row).status for row in (200, 400)] == ["watch", "watch"]
    for _ in range(3):  # what lies between holds rows of both, and of the next
        for row in range(401, 600, 5):
            assert judge(row).status == "watch"
    verdict = judge(600)
    assert verdict.status == "alarm" and max(check.windows for check in verdict.alarms) == 3
    assert judge(200).status == "watch"  # a day of the past does not count what came after it


def test_labels_that_come_when_the_window_has_moved_on_are_judged_all_the_same(
    store: Store, layout: Layout, champion: Bundle
) -> None:
    """True values have doubled, and are known three days late; the window holds one day."""
    params = replace(PARAMS, monitoring=replace(PARAMS.monitoring, rows=300, skew_rows=0))
    day = 1_000 * SECOND
    logged: list[tuple[list[Record], pd.DataFrame]] = []
    told: list[monitor.WindowVerdict] = []
    for number in range(6):
        frame = make_frame(300, seed=number)
        logged.append((log_rows(store, champion, RENT, frame, START + number * day, labels=False), frame))
        now = START + number * day + 400 * SECOND
        if number >= 3:
            records, known = logged[number - 3]
            values = [2 * float(v) for v in known[RENT.target.name]]
            store.record_labels([Label(r.prediction_id, v) for r, v in zip(records, values, strict=True)], now=now)
        told += [monitor.monitor(params, layout, store, now=now) for _ in range(2)]
    assert [v.status for v in told[::2]] == [v.status for v in told[1::2]] == ["quiet"] * 3 + ["watch"] * 2 + ["alarm"]
    last = told[-1]
    assert last.errors.labelled == 0 and last.first == START + 5 * day
    assert last.errors.span == LabelledSpan(300, START + 2 * day, START + 2 * day + 299 * SECOND)
    assert last.errors.lag == pytest.approx((3 * day + 400 * SECOND) / SECOND - 299 / 2)
    assert {c.subject for c in last.alarms} >= {"realised error", "coverage 80%"}
    assert last.errors.realised_labelled is not None and last.errors.estimated_labelled is not None
    assert last.errors.realised_labelled > 3 * last.errors.estimated_labelled  # the estimate is seen to be off
    text = describe_window(last)
    assert "0 of these rows" in text and "errors by the labels of 300 rows, 2023-11-14 22:46:40" in text
    scene = look_around(layout, store, now)  # which is what retraining starts from
    (error,) = read_alarms(scene.verdict).errors
    assert error.startswith("realised error is") and "3 windows in a row" in error


@pytest.mark.parametrize(("own", "judged"), [(PARAMS.monitoring.labels, 0), (PARAMS.monitoring.labels - 1, 500)])
def test_a_windows_own_labels_are_asked_first_if_there_are_enough(
    store: Store, layout: Layout, champion: Bundle, own: int, judged: int
) -> None:
    log_rows(store, champion, RENT, make_frame(500, seed=1))
    frame = make_frame(500, seed=2)
    records = log_rows(store, champion, RENT, frame, START + 500 * SECOND, labels=False)
    values = frame[RENT.target.name]
    store.record_labels([Label(r.prediction_id, float(v)) for r, v in zip(records[:own], values[:own], strict=True)])
    errors = run(layout, store).errors
    assert errors.labelled == own and errors.span is not None
    assert errors.span.rows == (judged or own)


def test_labels_of_older_rows_do_not_contradict_the_estimate_of_these(
    store: Store, layout: Layout, champion: Bundle
) -> None:
    log_rows(store, champion, RENT, make_frame(500, seed=1))
    log_rows(store, champion, RENT, make_frame(500, seed=2), START + 500 * SECOND, labels=False)
    verdict = run(layout, store)
    assert verdict.errors.labelled == 0 and verdict.errors.span is not None
    checks = tuple(replace(c, breached=True, alarm=True) if c.test == ESTIMATE else c for c in verdict.checks)
    stands = replace(verdict, checks=checks)
    assert read_alarms(stands).errors and not read_alarms(stands).pending
    own = replace(stands, errors=replace(stands.errors, labelled=300))
    assert not read_alarms(own).errors and "labels do not show it" in read_alarms(own).pending[0]


def test_few_rows_with_a_fault_of_their_own_do_not_break_a_row_of_windows(
    store: Store, layout: Layout, champion: Bundle
) -> None:
    frame = make_frame(907, seed=7)
    frame["size"] = frame["size"] / 2
    log_rows(store, champion, RENT, frame[:600], labels=False)
    log_rows(store, champion, RENT, frame[600:607], START + 600 * SECOND, labels=False, prediction=500.5)
    log_rows(store, champion, RENT, frame[607:], START + 607 * SECOND, labels=False)
    ends = (0, 300, 600, 607, 907)
    parts = [Span(START + a * SECOND, START + b * SECOND) for a, b in pairwise(ends)]
    told = [run(layout, store, part, START + 910 * SECOND) for part in parts]
    assert [(v.status, v.enough) for v in told] == [
        ("watch", True), ("watch", True), ("alarm", False), ("alarm", True)
    ]  # fmt: skip
    assert [c.test for c in told[2].alarms] == ["skew"]
    assert max(check.windows for check in told[3].alarms) == 3


def test_row_from_the_future_is_a_fault_and_stops_nothing(store: Store, layout: Layout, champion: Bundle) -> None:
    frame = make_frame(901, seed=7)
    frame["size"] = frame["size"] / 2
    year = 365 * 24 * monitor.HOUR
    log_rows(store, champion, RENT, frame[:1], START + year, labels=False)
    params = replace(PARAMS, monitoring=replace(PARAMS.monitoring, rows=300))
    told = []
    for number in range(3):
        start = START + 300 * number * SECOND
        log_rows(store, champion, RENT, frame[1 + 300 * number : 301 + 300 * number], start, labels=False)
        told.append(monitor.monitor(params, layout, store, now=start + 300 * SECOND))
    assert [(v.rows, v.last) for v in told] == [(300, START + (300 * n + 299) * SECOND) for n in range(3)]
    (fault,) = (c for c in told[0].alarms if c.test == "future")
    assert (fault.effect, fault.concern) == (1.0, "quality") and "2024-11-13 22:13:20" in fault.remark
    assert "size" in {c.subject for c in told[2].alarms} and "size" not in {c.subject for c in told[1].alarms}
    late = monitor.monitor(params, layout, store, now=START + 30 * monitor.HOUR)
    assert "staleness" in {c.test for c in late.alarms}
    arrived = monitor.monitor(params, layout, store, now=START + year)
    assert "future" not in {c.test for c in arrived.checks} and arrived.last == START + year


def test_silence_leaves_one_verdict_until_it_is_a_breach(store: Store, layout: Layout, champion: Bundle) -> None:
    log_rows(store, champion, RENT, make_frame(300, seed=1))
    last = START + 299 * SECOND
    told = [run(layout, store, now=last + hours * monitor.HOUR) for hours in (1, 2, 3)]
    numbers = [store.find_verdict("rent", champion.path.name)]
    assert monitor.list_history(store, "rent") == [told[-1]]
    stale = [run(layout, store, now=last + hours * monitor.HOUR) for hours in (25, 26)]
    numbers.append(store.find_verdict("rent", champion.path.name))
    assert monitor.list_history(store, "rent") == [stale[-1], told[-1]]
    assert len({number for number, _ in filter(None, numbers)}) == 2  # whoever knows the one before sees the new one


def test_a_verdict_of_a_clock_that_ran_ahead_is_not_the_latest(store: Store, layout: Layout, champion: Bundle) -> None:
    log_rows(store, champion, RENT, make_frame(300, seed=1), labels=False)
    run(layout, store, now=START + 1_000 * monitor.HOUR)  # stale, by that clock
    verdict = run(layout, store)
    assert look_around(layout, store, verdict.judged).verdict == verdict
    assert monitor.list_history(store, "rent", until=verdict.judged) == [verdict]
    known = store.find_verdict("rent", champion.path.name, until=verdict.judged)
    assert known is not None and known[1].judged == verdict.judged
    run(layout, store, now=verdict.judged + SECOND)  # it takes the place of the latest one, which says the same
    assert len(monitor.list_history(store, "rent")) == 2


def test_promotion_begins_a_new_count(store: Store, layout: Layout) -> None:
    assert submit(layout, "good").accepted
    first = load_bundle(champion_bundle(layout))
    log_rows(store, first, RENT, make_frame(300, seed=1))
    assert run(layout, store).version == first.path.name
    assert submit(layout, "better").accepted
    promoted = find_since(layout)
    assert promoted is not None
    told = [run(layout, store, now=promoted + hours * monitor.HOUR) for hours in (1, 2, 25)]
    assert [(v.version[:5], v.rows, v.status) for v in told] == [
        ("v0002", 0, s) for s in ("undecided",) * 2 + ("alarm",)
    ]
    assert [c.remark for c in told[2].alarms] == ["champion for 25.0 h, and has predicted nothing"]
    assert "0 rows, - to - UTC" in describe_window(told[0])
    assert monitor.list_history(store, "rent", told[0].version) == [told[2], told[1]]
    sent = send_alerts(PARAMS, store, told[2], told[2].judged)
    assert [alert.subjects for alert in sent.raised] == [("predictions",)]
    with pytest.raises(TidelineError, match=r"holds no predictions of rent v0002-.* as champion in that time"):
        run(layout, store, Span(until=START))


def test_nothing_for_a_day_is_an_alarm(store: Store, layout: Layout, champion: Bundle) -> None:
    log_rows(store, champion, RENT, make_frame(100, seed=1))
    late = run(layout, store, now=START + 99 * SECOND + 25 * monitor.HOUR)
    assert late.status == "alarm" and [c.test for c in late.alarms] == ["staleness"]
    assert late.alarms[0].statistic == pytest.approx(25.0)
    assert run(layout, store, now=START + 23 * monitor.HOUR).status == "undecided"


def test_server_that_answers_otherwise_than_offline_is_found(store: Store, layout: Layout, champion: Bundle) -> None:
    log_rows(store, champion, RENT, make_frame(300, seed=1))
    wrong = log_rows(store, champion, RENT, make_frame(30, seed=2), START + 300 * SECOND, prediction=500.5)
    verdict = run(layout, store, Span(since=START))
    (check,) = (c for c in verdict.alarms if c.test == "skew")
    # 200 of 330 rows are compared, about 18 of them are wrong
    assert 8 <= round(check.effect * 200) <= 30
    assert check.remark.split(": ")[1].split(", ")[0] in {r.prediction_id for r in wrong}


def test_classes_are_watched_too(store: Store, tmp_path: Path) -> None:
    layout = write_project(tmp_path / "pets", PETS)
    bundle = ship(layout, PETS)
    log_rows(store, bundle, PETS, make_frame(600, seed=5), version="v0001-pets")
    reference = Reference.of(bundle)
    window = read_window(store, reference, "v0001-pets", None, None, seed=1)
    from tideline.monitor.judge import judge_window
    from tideline.monitor.skew import check_skew

    sample = window.sample_rows()
    assert sample is not None
    skew = check_skew(bundle, sample, PARAMS.export, 200)
    assert skew.effect == 0 and skew.statistic < 1e-6
    verdict = judge_window(reference, window, PARAMS.monitoring, "v0001-pets", START, others=[skew])
    assert verdict.status == "quiet" and verdict.errors.labelled == 600
    assert verdict.errors.realised == pytest.approx(verdict.errors.reference, rel=0.15)
    assert verdict.errors.estimated == pytest.approx(verdict.errors.realised, rel=0.15)
    assert {c.subject for c in verdict.checks if c.part == "answer"} == {"prediction", "prediction_confidence"}
    only_dogs = [PETS.classes[1]] * 600
    frame = make_frame(600, seed=6).assign(size=95.0, pet=only_dogs)
    log_rows(store, bundle, PETS, frame, START + 10**9, version="v0001-pets")
    window = read_window(store, reference, "v0001-pets", START + 10**9, None, seed=1)
    drifted = judge_window(reference, window, PARAMS.monitoring, "v0001-pets", START)
    assert {"size", "prediction", "prediction_confidence"} <= {c.subject for c in drifted.breaches}


def test_command_prints_a_table_and_its_exit_code_says_what_it_means(
    layout: Layout, champion: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(layout.root)
    monkeypatch.delenv("TIDELINE_STORE_URL", raising=False)
    monkeypatch.setattr(
        "tideline.catalog.get_task", lambda name: RENT
    )  # the small task is in no folder of the catalogue
    assert cli.main(["monitor", "rent"]) == 1
    assert "no store at" in capsys.readouterr().err
    import time

    now = time.time_ns() // 1000
    with open_store(f"sqlite:///{layout.root.resolve()}/store/predictions.db") as store:
        log_rows(store, champion, RENT, make_frame(600, seed=5), now - 2_000 * SECOND)
        assert cli.main(["monitor", "rent"]) == 0
        told = capsys.readouterr().out
        assert f"rent {champion.path.name}: quiet" in told and "500 rows" in told and "chi_squared" in told
        log_rows(store, champion, RENT, make_frame(300, seed=6).assign(kind="c"), now - 1_000 * SECOND)
        assert cli.main(["monitor", "rent", "--rows", "300"]) == 3
        told = capsys.readouterr().out
        assert "ALARM" in told and "c (300)" in told
        monkeypatch.setattr(Bar.__init__, "__defaults__", (0.0,))  # as slow as if every batch took five seconds
        assert cli.main(["monitor", "rent", "--rows", "250", "--json"]) == 3
        said = capsys.readouterr()
        assert json.loads(said.out)["rows"] == 250 and "rows: 250 after" in said.err
        assert cli.main(["monitor", "rent", "--rows", "0"]) == 1
        assert "at least one row" in capsys.readouterr().err
        assert cli.main(["monitor", "rent", "--since", "2030-01-02", "--until", "2030-01-01"]) == 1
        capsys.readouterr()
        assert cli.main(["monitor", "rent", "--history"]) == 0
        assert capsys.readouterr().out.count(champion.path.name) == 3


def test_bundle_that_is_broken_is_not_judged_against(store: Store, layout: Layout, champion: Bundle) -> None:
    log_rows(store, champion, RENT, make_frame(300, seed=1))
    (champion.path / "reference.json").write_text("{}")
    with pytest.raises(TidelineError, match=r"reference\.json has sha256"):
        run(layout, store)
