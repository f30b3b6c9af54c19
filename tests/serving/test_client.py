"""The Python client against real servers: answers, errors, patience, a server that is restarted in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.serving.real_server import RealServer
from tests.serving.small_bundle import CLASSES, ROW, expected_value
from tideline.bundle import Bundle
from tideline.client import Client, Predictions, Refused, ServerAway
from tideline.contracts import TidelineError
from tideline.keys import add_key

ROWS = [{**ROW, "income": 1 + i / 100, "bed rooms": None if i % 3 else 2} for i in range(450)]


@pytest.fixture
def client(server: RealServer) -> Iterator[Client]:
    with Client(server.url) as opened:
        yield opened


def test_rows(client: Client) -> None:
    answer = client.predict([{**ROWS[0], "rooms": np.int64(7), "income": np.float64(2)}], sticky_key="cart")
    expected = expected_value({**ROWS[0], "rooms": 7, "income": 2})
    assert answer.predictions == pytest.approx([expected])
    assert answer.model.version == client.model().version and answer.model.task == "toy"
    low, high = answer.intervals["0.8"][0]
    assert low < expected < high
    assert hash(answer.model)
    with pytest.raises(AttributeError):
        answer.predictions = ()  # type: ignore[misc]


def test_frames(client: Client) -> None:
    frame = pd.DataFrame(ROWS, index=range(1000, 1450))
    answer = client.predict_frame(frame, batch_rows=200)
    assert answer.index.tolist() == frame.index.tolist()
    expected = [expected_value(row) for row in ROWS]
    np.testing.assert_allclose(answer["prediction"], expected, rtol=1e-6)
    assert answer["prediction_id"].is_unique and set(answer["model_version"]) == {client.model().version}
    table = client.predict_frame(pa.Table.from_pylist(ROWS), batch_rows=450)
    np.testing.assert_allclose(table["prediction"], expected, rtol=1e-6)
    assert set(table.column_names) == set(answer.columns)


def test_classes(classification_bundle: Bundle, tmp_path: Path) -> None:
    with RealServer(["--bundle", str(classification_bundle.path)], tmp_path) as server, Client(server.url) as client:
        answer = client.predict(ROWS[:2])
        assert isinstance(answer, Predictions) and set(answer.predictions) <= set(CLASSES)
        assert answer.probabilities[0].keys() == set(CLASSES) and answer.predictions[0] in answer.sets["0.8"][0]
        table = client.predict_frame(pa.Table.from_pylist(ROWS[:2]))
        assert table["prediction"].to_pylist() == list(answer.predictions)


def test_labels(client: Client) -> None:
    first, second = client.predict(ROWS[:2]).prediction_ids
    taken = client.feedback({first: 3.5, second: np.float32(4), "nobody": 1})
    assert [(t.prediction_id, t.state) for t in taken] == [
        (first, "accepted"), (second, "accepted"), ("nobody", "unknown"),
    ]  # fmt: skip
    assert taken[0].lag_seconds and taken[0].version
    assert client.feedback({}) == ()


def test_refusals_name_the_row_of_the_whole_frame(client: Client) -> None:
    with pytest.raises(Refused) as caught:
        client.predict([ROW, {**ROW, "income": 99}])
    error = caught.value
    assert (error.status, error.path) == (422, "rows[1].income")
    assert "from 0.5 to 15" in error.message and error.expected["maximum"] == 15
    with pytest.raises(Refused) as caught:
        client.predict_frame(pa.Table.from_pylist([*ROWS[:250], {**ROW, "income": 99}]), batch_rows=100)
    assert caught.value.path == "rows[250].income"
    with pytest.raises(Refused, match="there are no rows"):
        client.predict_frame(pa.Table.from_pylist(ROWS).slice(0, 0))


def test_a_spent_rate_is_waited_for_within_the_patience(regression_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    key = add_key(tmp_path / "store" / "keys.json", "shop", ("predict",), rate=2)
    with RealServer(["--bundle", str(regression_bundle.path)], tmp_path) as server:
        begun = time.monotonic()
        with Client(server.url, key=key, patience=10) as client:
            for _ in range(4):
                client.predict([ROW])
        assert time.monotonic() - begun > 0.9
        with Client(server.url, key=key, patience=0) as client, pytest.raises(Refused) as caught:
            for _ in range(4):
                client.predict([ROW])
        assert caught.value.status == 429
        with Client(server.url, patience=0) as client, pytest.raises(Refused) as caught:
            client.predict([ROW])
        assert caught.value.status == 401


def test_a_server_that_is_restarted_in_between(regression_bundle: Bundle, tmp_path: Path) -> None:
    arguments = ["--bundle", str(regression_bundle.path)]
    first, second = RealServer(arguments, tmp_path), RealServer(arguments, tmp_path)
    second.command, second.url = first.command, first.url
    second.client = httpx.Client(base_url=first.url, timeout=30, trust_env=False)
    answers: list[Predictions] = []
    with Client(first.url, patience=60) as client:
        with first:
            answers.append(client.predict([ROW]))  # its connection stays open
        asking = threading.Thread(target=lambda: answers.append(client.predict([ROW])))
        asking.start()
        time.sleep(0.5)
        assert len(answers) == 1
        with second:
            asking.join(60)
            taken = client.feedback({answer.prediction_ids[0]: 1.0 for answer in answers})
    assert [t.state for t in taken] == ["accepted", "accepted"]


@pytest.mark.parametrize("sticky_key", ["é", "a\nb", "a ", "\ud800"])
def test_what_no_header_holds_is_refused_by_name(sticky_key: str) -> None:
    with Client("http://127.0.0.1:1", patience=0) as client, pytest.raises(Refused, match="sticky_key: expected") as it:
        client.predict(ROWS, sticky_key)
    assert it.value.path == "sticky_key"
    with pytest.raises(TidelineError, match="key: expected what `tideline keys add` printed"):
        Client("http://127.0.0.1:1", key=f"tl_{sticky_key}\n")


def test_nobody_there() -> None:
    with Client("http://127.0.0.1:9", patience=0.3) as client, pytest.raises(ServerAway, match="is the server running"):
        client.model()
