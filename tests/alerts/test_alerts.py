"""Alerts on real stores and a real HTTP server: told once, told in the end, told when it is over."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.alerts.receiver import Receiver
from tests.alerts.verdicts import HOUR, make_check, make_params, make_verdict
from tests.predlog.samples import START
from tideline.alert import Alert
from tideline.alerts import Sent, deliver_alerts, raise_alert, send_alerts
from tideline.contracts import TidelineError
from tideline.monitor.records import Check, WindowVerdict
from tideline.params import load_params
from tideline.predlog import Store, open_store

ROOT = Path(__file__).resolve().parents[2]
ROOMS, BEDS = make_check("rooms"), make_check("beds")


def tell(
    store: Store, receiver: Receiver, *checks: Any, hour: float = 0, at: float | None = None, **changes: Any
) -> Sent:
    """Tell a verdict on a window that ended so many hours after START, then or at another hour."""
    rules = {k: v for k, v in changes.items() if k not in ("status", "version")}
    verdict = make_verdict(*checks, hour=hour, **{k: v for k, v in changes.items() if k not in rules})
    params = make_params("webhook", **rules)
    return send_alerts(
        params,
        store,
        verdict,
        START + round((hour if at is None else at) * HOUR),
        {"TIDELINE_ALERT_WEBHOOK": receiver.url},
    )


def test_alarm_is_told_once_and_again_after_a_day_and_its_end(store: Store, receiver: Receiver) -> None:
    first = tell(store, receiver, ROOMS)
    assert [d.alert.title for d in first.delivered] == ["rent v0001-aaaa: ALARM: rooms"]
    assert (first.failed, dict(first.waiting), len(first.raised)) == ((), {}, 1)
    (body,) = receiver.bodies
    assert (body["task"], body["status"], body["subjects"], body["at"]) == (
        "rent",
        "alarm",
        ["rooms"],
        "2023-11-14T22:13:20Z",
    )
    assert body["facts"]["checks"][0]["effect"] == 0.5 and body["facts"]["window"]["rows"] == 500
    assert tell(store, receiver, ROOMS, hour=0) == tell(store, receiver, ROOMS, hour=23) == Sent()
    assert tell(store, receiver, ROOMS, hour=24).delivered[0].alert.name != body["name"]
    over = tell(store, receiver, hour=25)
    assert [d.alert.status for d in over.delivered] == ["recovered"]
    assert tell(store, receiver, hour=26) == Sent()
    assert len(tell(store, receiver, ROOMS, hour=27).delivered) == 1  # it began anew
    assert [b["status"] for b in receiver.bodies] == ["alarm", "alarm", "recovered", "alarm"]


def test_other_subjects_are_another_alarm_and_flapping_is_not(store: Store, receiver: Receiver) -> None:
    told = [tell(store, receiver, *checks, hour=i).raised for i, checks in enumerate(
        [(ROOMS,), (ROOMS, BEDS), (ROOMS,), (BEDS, ROOMS), (ROOMS,)]
    )]  # fmt: skip
    assert [[a.subjects for a in alerts] for alerts in told] == [[("rooms",)], [("rooms", "beds")], [], [], []]


def test_too_few_rows_and_older_windows_say_nothing_about_an_alarm(store: Store, receiver: Receiver) -> None:
    tell(store, receiver, ROOMS, hour=5)
    assert tell(store, receiver, hour=6, status="undecided") == Sent()
    assert tell(store, receiver, hour=4, at=6) == Sent()  # judged later, of older rows
    assert tell(store, receiver, BEDS, hour=4, at=6) == Sent()
    assert [a.status for a in tell(store, receiver, hour=7).raised] == ["recovered"]


def test_what_was_told_of_a_window_in_the_future_does_not_silence_the_present(store: Store, receiver: Receiver) -> None:
    params, address = make_params("webhook"), {"TIDELINE_ALERT_WEBHOOK": receiver.url}
    send_alerts(params, store, make_verdict(ROOMS, hour=9_000), START, address)
    told = send_alerts(params, store, make_verdict(BEDS, hour=1), START + HOUR, address)
    assert [alert.subjects for alert in told.raised] == [("beds",)]


def test_what_was_told_by_a_clock_that_ran_ahead_silences_nothing(store: Store, receiver: Receiver) -> None:
    tell(store, receiver, ROOMS, hour=9_000)
    assert [alert.subjects for alert in tell(store, receiver, ROOMS, hour=1).raised] == [("rooms",)]
    assert tell(store, receiver, ROOMS, hour=2) == Sent()
    assert [alert.status for alert in tell(store, receiver, hour=3).raised] == ["recovered"]


def test_too_few_rows_with_a_fault_of_their_own_do_not_end_what_they_could_not_see(
    store: Store, receiver: Receiver
) -> None:
    """Seven rows that the server answered otherwise than offline are an alarm, and say nothing of drift."""
    drift = replace(ROOMS, concern="drift")
    params = make_params("webhook", concerns=("drift",))
    skew = Check("log", "served answers", "skew", "quality", 1.0, None, 1.0, 0.1, breached=True, alarm=True)

    def tell_verdict(verdict: WindowVerdict) -> list[str]:
        told = send_alerts(params, store, verdict, verdict.judged, {"TIDELINE_ALERT_WEBHOOK": receiver.url})
        return [alert.status for alert in told.raised]

    assert tell_verdict(make_verdict(drift)) == ["alarm"]
    few = make_verdict(skew, hour=1)
    assert tell_verdict(replace(few, rows=7, least=200)) == tell_verdict(replace(few, rows=7)) == []
    assert tell_verdict(make_verdict(hour=2)) == ["recovered"]


def test_promotion_ends_what_was_told_of_the_version_before(store: Store, receiver: Receiver) -> None:
    tell(store, receiver, ROOMS)
    told = tell(store, receiver, ROOMS, hour=1, version="v0002-bbbb").raised
    assert [(a.version, a.status) for a in told] == [("v0001-aaaa", "recovered"), ("v0002-bbbb", "alarm")]


def test_rules_pick_statuses_concerns_and_subjects(sqlite_store: Store, receiver: Receiver) -> None:
    drift, watch = make_check("age", concern="drift"), make_check("size", alarm=False, concern="drift")
    every = (ROOMS, drift, watch)
    picked = {
        "drift": tell(sqlite_store, receiver, *every, concerns=("drift",)).raised,
        "watch": tell(sqlite_store, receiver, *every, hour=1, statuses=("watch",)).raised,
        "rooms": tell(sqlite_store, receiver, *every, hour=2, subjects=("rooms",)).raised,
    }
    assert {k: v[-1].subjects for k, v in picked.items()} == {
        "drift": ("age",),
        "watch": ("size",),
        "rooms": ("rooms",),
    }
    few = tell(sqlite_store, receiver, hour=3, status="undecided", statuses=("undecided",)).raised
    assert few[-1].status == "undecided" and "too few" in few[-1].title


@pytest.mark.parametrize("trouble", [500, 503, 429, "refuse", "hang", "drip"])
def test_what_may_pass_is_tried_again(sqlite_store: Store, receiver: Receiver, trouble: int | str) -> None:
    receiver.script.extend([trouble, trouble])
    sent = tell(sqlite_store, receiver, ROOMS)
    assert (receiver.asked, len(receiver.bodies), len(sent.delivered), sent.failed) == (3, 1, 1, ())


@pytest.mark.parametrize("trouble, tries, says", [
    (500, 3, "answered 500 (tried 3 times)"), (404, 1, "answered 404"), (302, 1, "answered 302"),
    ("hang", 3, "no answer within 0.3 s"), ("drip", 3, "no answer within 0.3 s"),
])  # fmt: skip
def test_failed_delivery_is_kept_and_made_by_the_next_run(
    sqlite_store: Store, receiver: Receiver, trouble: int | str, tries: int, says: str
) -> None:
    receiver.script.extend([trouble] * tries)
    sent = tell(sqlite_store, receiver, ROOMS)
    (failure,) = sent.failed
    assert receiver.asked == tries and says in failure.error and "T0PSECRET" not in failure.error
    assert "TIDELINE_ALERT_WEBHOOK" in failure.error and dict(sent.waiting) == {"webhook": 1}
    assert "NOT told by webhook, kept for the next run" in sent.describe()
    later = tell(sqlite_store, receiver, ROOMS, hour=1)
    assert (later.raised, len(later.delivered), dict(later.waiting)) == ((), 1, {})
    assert [b["name"] for b in receiver.bodies] == [failure.alert.name]


def test_one_channel_that_is_down_keeps_no_other_from_telling(
    sqlite_store: Store, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"TIDELINE_ALERT_WEBHOOK": "http://127.0.0.1:1/x", "TIDELINE_ALERT_SLACK": receiver.url}
    params = make_params("webhook", "slack", "log")
    sent = send_alerts(params, sqlite_store, make_verdict(ROOMS), START, places)
    assert [d.channel for d in sent.delivered] == ["log", "slack"] and [d.channel for d in sent.failed] == ["webhook"]
    assert capsys.readouterr().err.startswith(
        "ALERT 2023-11-14T22:13:20Z rent v0001-aaaa: ALARM: rooms; rooms: psi 0.5"
    )
    (body,) = receiver.bodies
    assert list(body) == ["text"] and "*rent v0001-aaaa: ALARM: rooms*\n• rooms: psi 0.5" in body["text"]
    assert "&lt;b&gt; &amp; so on" in body["text"]
    # What waits stays in order, and a channel that is down is asked once a run, not once an alert.
    sent = send_alerts(params, sqlite_store, make_verdict(hour=1), START + HOUR, places)
    assert len(sent.failed) == 1 and dict(sent.waiting) == {"webhook": 2}
    back = deliver_alerts(params, sqlite_store, START + HOUR, places | {"TIDELINE_ALERT_WEBHOOK": receiver.url})
    assert [d.alert.status for d in back.delivered] == ["alarm", "recovered"]


def test_channel_without_its_address_is_a_clear_error_and_loses_nothing(
    sqlite_store: Store, receiver: Receiver
) -> None:
    params = make_params("slack")
    (failure,) = send_alerts(params, sqlite_store, make_verdict(ROOMS), START, {}).failed
    assert (
        "the channel slack is asked for in params.yaml" in failure.error
        and "TIDELINE_ALERT_SLACK is not set" in failure.error
    )
    (failure,) = deliver_alerts(params, sqlite_store, START, {"TIDELINE_ALERT_SLACK": "hooks.example/T0PSECRET"}).failed
    assert "TIDELINE_ALERT_SLACK is no address" in failure.error and "T0PSECRET" not in failure.error
    assert deliver_alerts(params, sqlite_store, START, {"TIDELINE_ALERT_SLACK": receiver.url}).delivered
    with pytest.raises(TidelineError, match=r"no entry 'slak' .*did you mean 'slack'"):
        send_alerts(make_params("slak"), sqlite_store, make_verdict(ROOMS), START, {})


def test_what_waits_for_a_channel_that_no_rule_names_is_told_of(sqlite_store: Store) -> None:
    send_alerts(make_params("slack"), sqlite_store, make_verdict(ROOMS), START, {})
    sent = send_alerts(make_params(), sqlite_store, make_verdict(ROOMS, hour=1), START + HOUR, {})
    assert sent.failed == () and "1 wait for the channel slack" in sent.describe()


def _tell_together(url: str, address: str, barrier: Any) -> None:
    with open_store(url) as store:
        barrier.wait(20)
        send_alerts(make_params("webhook", timeout_seconds=5.0), store, make_verdict(ROOMS), START,
                    {"TIDELINE_ALERT_WEBHOOK": address})  # fmt: skip


def test_processes_that_find_the_same_tell_it_once(url: str, receiver: Receiver) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    with open_store(url):
        pass
    workers = [context.Process(target=_tell_together, args=(url, receiver.url, barrier)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert len(receiver.bodies) == 1


KILLED = """
import os, sys
from tests.alerts.verdicts import make_check, make_params, make_verdict
from tests.predlog.samples import START
from tideline.alerts import send_alerts
from tideline.predlog import Store, open_store
Store.settle_delivery = lambda *_: os.kill(os.getpid(), 9)
with open_store(sys.argv[1]) as store:
    send_alerts(make_params("webhook", timeout_seconds=5.0), store, make_verdict(make_check("rooms")), START)
"""


def test_death_between_delivery_and_its_record_tells_twice_but_under_one_name(url: str, receiver: Receiver) -> None:
    environment = {**os.environ, "TIDELINE_ALERT_WEBHOOK": receiver.url, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, url], env=environment, cwd=ROOT, capture_output=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    with open_store(url) as store:
        at_once = tell(store, receiver, ROOMS, hour=0.001)  # another may still be at it
        assert (at_once.delivered, dict(at_once.waiting)) == ((), {"webhook": 1})
        later = tell(store, receiver, ROOMS, hour=1)
        assert (later.raised, len(later.delivered), dict(later.waiting)) == ((), 1, {})
    assert len(receiver.bodies) == 2 and receiver.bodies[0] == receiver.bodies[1]


def test_others_raise_alerts_of_their_own(sqlite_store: Store, receiver: Receiver) -> None:
    places = {"TIDELINE_ALERT_WEBHOOK": receiver.url}
    alert = Alert(
        "rent", "v0002-bbbb", "retraining", "alarm", ("retraining",), ("gate",), "rent: the gate refused v0002-bbbb"
    )

    def tell_of(alert: Alert, hour: float = 0, **changes: Any) -> tuple[Alert, ...]:
        return raise_alert(
            make_params("webhook", **changes), sqlite_store, alert, START + round(hour * HOUR), places
        ).raised

    over = replace(alert, status="recovered", title="rent: retrained")
    assert tell_of(over) == ()  # there was nothing
    assert tell_of(alert, concerns=("drift",)) == tell_of(alert, subjects=("rooms",)) == ()
    assert len(tell_of(alert)) == 1 and tell_of(alert, 1) == ()
    assert len(tell_of(replace(alert, version="v0003-cccc"), 2)) == 1
    assert len(tell(sqlite_store, receiver, ROOMS, hour=3).raised) == 1
    assert len(tell_of(over, 4)) == 1 and tell(sqlite_store, receiver, ROOMS, hour=5) == Sent()  # the monitor's stands
    assert [b["source"] for b in receiver.bodies] == ["retraining", "retraining", "monitor", "retraining"]


def test_rules_are_checked_when_they_are_read(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    place = tmp_path / "params.yaml"
    place.write_text(text.replace("statuses: [alarm]", "statuses: [alert]"))
    with pytest.raises(
        TidelineError, match=r"alerts: rules\.everything: statuses\[0\] is 'alert'; expected one of watch"
    ):
        load_params(place)
    place.write_text(text.replace("repeat_hours: 24.0", "repeat: 24.0"))
    with pytest.raises(TidelineError, match="unknown key 'repeat'; did you mean 'repeat_hours'"):
        load_params(place)
