"""What a label becomes, that its history stays, and that many may label at once."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.predlog.samples import START, make_pets, make_rents, read_history
from tideline.predlog import Label, LabelAnswer, Store, mint_ids


def test_states_of_a_number(store: Store) -> None:
    (rent,) = make_rents(1)
    store.append([rent])
    name = rent.prediction_id
    answers = store.record_labels(
        [Label(name, 5), Label(name, 5.0), Label("0" * 20, 1.0), Label(name, float("nan")), Label(name, 10**400)],
        source="key-1",
        now=START + 60_000_000,
    )
    assert [a.state for a in answers] == ["accepted", "repeated", "unknown", "invalid", "invalid"]
    assert answers[2].reason == "there is no such prediction: never made, or pruned since"
    assert answers[3].reason == "expected a finite number, got nan"
    for wrong in ("5", True, None, [5]):
        (answer,) = store.record_labels([Label(name, wrong)])  # type: ignore[arg-type]
        assert answer.state == "invalid" and "expected a number, got" in answer.reason
    later = store.record_labels([Label(name, 6.5)], source="key-2", now=START + 7_200_000_000)
    assert rent.prediction is not None
    error = abs(rent.prediction - 6.5)
    about = ("rent", "v0001-aaaa", "champion", error, 7_200_000_000)
    assert later == [LabelAnswer(name, "corrected", "was 5.0", *about)]
    assert store.record_labels([Label(name, 6.5)])[0].state == "repeated"
    assert read_history(store) == [
        (name, 5.0, None, START + 60_000_000, "key-1", False),
        (name, 6.5, None, START + 7_200_000_000, "key-2", True),
    ]
    with store.database.connect() as connection:
        view = connection.execute(
            sa.text("SELECT label, absolute_error, lag_seconds FROM predictions_with_labels")
        ).one()
    assert tuple(view) == (6.5, error, 7_200.0)


@pytest.mark.parametrize("value", [1.1e60, -1e155, 10**300])
def test_a_number_whose_error_nobody_can_sum_is_invalid(store: Store, value: float) -> None:
    rents = make_rents(1)
    store.append(rents)
    (answer,) = store.record_labels([Label(rents[0].prediction_id, value)])
    assert answer.state == "invalid" and answer.reason.startswith("expected at most 1e+60 either way, got ")
    assert store.record_labels([Label(rents[0].prediction_id, -1e60)])[0].state == "accepted"


def test_states_of_a_class(store: Store) -> None:
    pets = make_pets(2)
    bare = make_pets(1, probabilities=None)
    store.append(pets + bare)
    first, second = (pet.prediction_id for pet in pets)
    answers = store.record_labels(
        [
            Label(first, "dog"),
            Label(first, "cat"),
            Label(second, "cow"),
            Label(second, 1.0),
            Label(bare[0].prediction_id, "cow"),
        ]
    )
    assert [a.state for a in answers] == ["accepted", "corrected", "invalid", "invalid", "accepted"]
    assert answers[2].reason == "expected one of cat, dog, eel, got 'cow'" and answers[1].reason == "was dog"
    assert [a.absolute_error for a in answers] == [1.0, 0.0, None, None, 1.0]
    assert [row[2] for row in read_history(store) if row[5]] == ["cat", "cow"]
    with store.database.connect() as connection:
        errors = connection.execute(sa.text("SELECT absolute_error FROM predictions_with_labels ORDER BY 1")).scalars()
        assert sorted(e for e in errors if e is not None) == [0.0, 1.0]


def test_many_labels_in_one_call(store: Store) -> None:
    rents = make_rents(1_300)
    store.append(rents)
    answers = store.record_labels([Label(r.prediction_id, float(i)) for i, r in enumerate(rents)])
    assert {a.state for a in answers} == {"accepted"} and len(read_history(store)) == 1_300


def test_processes_that_label_the_same_prediction_leave_one_line_of_history(store: Store, url: str) -> None:
    rents = make_rents(30)
    store.append(rents)
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()

    def work(value: float) -> None:
        with Store(url) as own:
            states = [own.record_labels([Label(r.prediction_id, value) for r in rents[::step]]) for step in (1, -1)]
            results.put([answer.state for answers in states for answer in answers])

    processes = [context.Process(target=work, args=(float(i % 2),)) for i in range(4)]
    for process in processes:
        process.start()
    states = [state for _ in processes for state in results.get()]
    for process in processes:
        process.join(20)
    history = read_history(store)
    assert states.count("accepted") == 30 and sum(row[5] for row in history) == 30
    assert len(history) == 30 + states.count("corrected")
    for rent in rents:  # a correction always changes the value
        values = [row[1] for row in history if row[0] == rent.prediction_id]
        assert all(a != b for a, b in pairwise(values))


def test_threads_may_label_beside_the_writer(store: Store) -> None:
    rents = make_rents(200)
    store.append(rents)
    with store.writer() as writer, ThreadPoolExecutor(4) as threads:
        futures = [writer.submit(make_rents(5, seed=i)) for i in range(40)]
        parts = list(threads.map(lambda i: store.record_labels([Label(rents[i].prediction_id, 1.0)]), range(200)))
        assert all(future.result(10).place == "store" for future in futures)
    assert all(answer.state == "accepted" for part in parts for answer in part)


VALUES = st.sampled_from([0.0, -0.0, 1.5, 2, float("inf"), "x", None])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(st.lists(st.tuples(st.integers(0, 3), VALUES), max_size=6), max_size=6))
def test_histories_follow_a_simple_model(sqlite_store: Store, calls: list[list[tuple[int, Any]]]) -> None:
    rents = make_rents(3, task=f"rent-{mint_ids(1)[0]}")
    sqlite_store.append(rents)
    names = [r.prediction_id for r in rents] + ["never made"]
    model: dict[str, list[float]] = {}
    for call in calls:
        expected = []
        for number, value in call:
            past = model.get(names[number], [])
            if number == 3:
                expected.append("unknown")
            elif not isinstance(value, int | float) or abs(value) == float("inf"):
                expected.append("invalid")
            elif past and past[-1] == value:
                expected.append("repeated")
            else:
                expected.append("corrected" if past else "accepted")
                model[names[number]] = [*past, float(value)]
        answers = sqlite_store.record_labels([Label(names[number], value) for number, value in call])
        assert [answer.state for answer in answers] == expected
    history = [row for row in read_history(sqlite_store) if row[0] in names]
    for name in names:
        assert [row[1] for row in history if row[0] == name] == model.get(name, [])
        assert [row[1] for row in history if row[0] == name and row[5]] == model.get(name, [])[-1:]


@pytest.mark.parametrize("name", ["", "x" * 10_000, "'; DROP TABLE labels; --", "a\0b", "\ud800", 7, None])
def test_any_id_is_answered(store: Store, name: Any) -> None:
    assert [answer.state for answer in store.record_labels([Label(name, 1.0)])] == ["unknown"]
