"""The ASGI application in this process: classes, and what a real connection hardly ever does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from serving.app import Application
from serving.settings import Settings
from serving.versions import Versions
from tests.serving.small_bundle import CLASSES, ROW
from tideline.bundle import Bundle


@pytest.fixture(scope="module")
def classifier(classification_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    home = tmp_path_factory.mktemp("home")
    application = Application(Settings(bundle=classification_bundle.path, home=home))
    application.open()
    yield application
    application.close()


def ask(application: Application, method: str, path: str, *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """What the application sends for one request whose body comes in these messages."""
    headers, server = [(b"content-type", b"application/json")], ("127.0.0.1", 3000)
    scope = {"type": "http", "method": method, "path": path, "headers": headers, "server": server}
    waiting, sent = list(messages), []

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(application(scope, receive, send))
    return sent


def body(value: Any, more: bool = False) -> dict[str, Any]:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return {"type": "http.request", "body": content, "more_body": more}


def test_classes_come_with_probabilities_and_sets(classifier: Application) -> None:
    rows = [{**ROW, "income": income} for income in (0.5, 3.5, 15)]
    start, content = ask(classifier, "POST", "/predict", body({"rows": rows}))
    assert start["status"] == 200
    answer = json.loads(content["body"])
    assert answer["predictions"] == [max(p, key=p.get) for p in answer["probabilities"]]
    assert answer["predictions"][-1] == "high"
    for i, shares in enumerate(answer["probabilities"]):
        assert list(shares) == list(CLASSES)
        assert sum(shares.values()) == pytest.approx(1, abs=1e-6)
        assert answer["predictions"][i] in answer["sets"]["0.8"][i]
        assert set(answer["sets"]["0.8"][i]) <= set(answer["sets"]["0.95"][i])
    document = json.loads(ask(classifier, "GET", "/openapi.json")[1]["body"])
    schema = {**document["components"]["schemas"]["PredictResponse"], "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(answer)


def test_a_client_that_goes_away_is_not_answered(classifier: Application) -> None:
    assert ask(classifier, "POST", "/predict", {"type": "http.disconnect"}) == []
    assert ask(classifier, "POST", "/predict", body(b"{", more=True), {"type": "http.disconnect"}) == []


def test_a_failure_of_ours_shows_no_inside(
    classifier: Application, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Versions) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(Versions, "describe", fail)
    start, content = ask(classifier, "GET", "/model")
    assert start["status"] == 500
    assert b"secret" not in content["body"]
    assert json.loads(content["body"])["error"]["message"] == "the server failed; its log says why"


def test_before_the_model_is_loaded_it_says_so() -> None:
    start, _ = ask(Application(Settings()), "GET", "/model")
    assert start["status"] == 503


def test_a_websocket_is_turned_away(classifier: Application) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(classifier({"type": "websocket", "path": "/predict"}, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1000}]
