"""HTTP as it comes over a real connection: whole, in pieces, several at once, and broken."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn

from serving.asgi import Answer, Receive, Scope, Send, send_answer
from serving.heads import HEAD_BYTES
from serving.protocol import GRACE, HELD_BYTES, WholeProtocol
from tests.serving.real_server import RealServer
from tests.serving.small_bundle import ROW
from tests.wait import wait_for

KEEP_ALIVE = 1  # seconds
HEAD_SECONDS = 0.5


def encode(rooms: int, *headers: str, target: str = "/predict", version: str = "1.1") -> bytes:
    """A request about a flat with so many rooms."""
    body = json.dumps({"rows": [{**ROW, "rooms": rooms}]}).encode()
    lines = [f"POST {target} HTTP/{version}", "host: localhost", "content-type: application/json", *headers]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


def read_answers(connection: socket.socket, count: int) -> list[tuple[int, dict[str, str], bytes]]:
    """The next answers of a connection: status, headers, body."""
    file, found = connection.makefile("rb"), []
    for _ in range(count):
        status = int(file.readline().split()[1])
        headers = {}
        while line := file.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        found.append((status, headers, file.read(int(headers["content-length"]))))
    return found


@contextmanager
def connect(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        yield connection


@pytest.fixture(scope="module")
def told(server: RealServer) -> dict[int, float]:
    """What the server says of some numbers of rooms, asked by an ordinary client."""
    found = {}
    for rooms in range(1, 9):
        answer = server.client.post("/predict", json={"rows": [{**ROW, "rooms": rooms}]})
        found[rooms] = answer.json()["predictions"][0]
    assert len(set(found.values())) == len(found)
    return found


def prediction(body: bytes) -> float:
    value = json.loads(body)["predictions"][0]
    assert isinstance(value, float)
    return value


@pytest.mark.parametrize(("size", "pause"), [(1, 0.0), (7, 0.0005), (60, 0.02), (110, 1.5 * GRACE), (200, 1.5 * GRACE)])
def test_a_request_in_pieces_is_answered_like_a_whole_one(
    server: RealServer, told: dict[int, float], size: int, pause: float
) -> None:
    with connect(server.port) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for rooms in (3, 4):
            content = encode(rooms)
            for start in range(0, len(content), size):
                connection.sendall(content[start : start + size])
                time.sleep(pause)
            ((status, _, body),) = read_answers(connection, 1)
            assert (status, prediction(body)) == (200, told[rooms])


def test_pipelined_requests_are_answered_in_their_order(server: RealServer, told: dict[int, float]) -> None:
    rooms = [1, 2, 3, 4, 5, 6, 7, 8] * 3
    with connect(server.port) as connection:
        connection.sendall(b"".join(map(encode, rooms)))
        answers = read_answers(connection, len(rooms))
    assert [prediction(body) for _, _, body in answers] == [told[n] for n in rooms]


def test_whole_requests_and_others_take_turns_on_one_connection(server: RealServer, told: dict[int, float]) -> None:
    model = b"GET /model HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with connect(server.port) as connection:
        connection.sendall(encode(1) + model + encode(2) + model + model + encode(4))
        answers = read_answers(connection, 6)
    assert [status for status, _, _ in answers] == [200] * 6
    assert [prediction(answers[i][2]) for i in (0, 2, 5)] == [told[1], told[2], told[4]]
    assert all("columns" in json.loads(answers[i][2]) for i in (1, 3, 4))


def test_the_client_that_waits_for_100_continue_gets_it(server: RealServer, told: dict[int, float]) -> None:
    head, _, body = encode(5, "expect: 100-continue").partition(b"\r\n\r\n")
    with connect(server.port) as connection:
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        ((status, _, content),) = read_answers(connection, 1)
    assert (status, prediction(content)) == (200, told[5])


def test_a_chunked_body_in_one_piece(server: RealServer, told: dict[int, float]) -> None:
    body = json.dumps({"rows": [{**ROW, "rooms": 6}]}).encode()
    lines = b"host: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n"
    head = b"POST /predict HTTP/1.1\r\n" + lines + b"\r\n"
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:10], body[10:50], body[50:]))
    with connect(server.port) as connection:
        connection.sendall(head + chunks + b"0\r\n\r\n" + encode(7))
        answers = read_answers(connection, 2)
    assert [prediction(body) for _, _, body in answers] == [told[6], told[7]]


UPGRADE = "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAA"


@pytest.mark.parametrize("pause", [0.0, 0.05, 1.5 * GRACE])
def test_an_upgrade_is_ignored_and_its_body_is_read(server: RealServer, told: dict[int, float], pause: float) -> None:
    """Java's client offers one with each request over http://."""
    head, _, body = encode(3, UPGRADE).partition(b"\r\n\r\n")
    smuggled = encode(5)
    wrapping = head.replace(b"content-length: %d" % len(body), b"content-length: %d" % len(smuggled))
    with connect(server.port) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in (head + b"\r\n\r\n", body, wrapping + b"\r\n\r\n", smuggled, encode(4, UPGRADE), encode(6)):
            connection.sendall(part)
            time.sleep(pause)
        first, refused, second, last = read_answers(connection, 4)
        assert [prediction(first[2]), prediction(second[2]), prediction(last[2])] == [told[3], told[4], told[6]]
        assert refused[0] == 400 and "connection" not in refused[1]


def test_upgrades_and_other_requests_in_one_piece(server: RealServer, told: dict[int, float]) -> None:
    whole = encode(2, UPGRADE)
    head, _, body = whole.partition(b"\r\n\r\n")
    chunked = head.replace(b"content-length: %d" % len(body), b"transfer-encoding: chunked")
    chunked += b"\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    bare = f"GET /model HTTP/1.1\r\nhost: localhost\r\n{UPGRADE}\r\n\r\n".encode()
    with connect(server.port) as connection:
        connection.sendall(whole + bare + chunked + encode(7) + whole)
        found = read_answers(connection, 5)
    assert [status for status, _, _ in found] == [200] * 5 and "columns" in json.loads(found[1][2])
    assert [prediction(found[i][2]) for i in (0, 2, 3, 4)] == [told[2], told[2], told[7], told[2]]
    with connect(server.port) as connection:  # a thousand at once need no deep stack
        connection.sendall(bare * 1000)
        assert {status for status, _, _ in read_answers(connection, 1000)} == {200}
    assert "Traceback" not in server.log


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (
            b"GET /predict HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
            b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
            b"403",
        ),
        (b"CONNECT localhost:80 HTTP/1.1\r\n", b"400"),
        (b"CONNECT localhost:80 HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n", b"400"),
        (b"CONNECT http://localhost/predict HTTP/1.1\r\n", b"400"),
    ],
    ids=["websocket", "tunnel", "both", "tunnel to a page"],
)
def test_what_asks_for_a_websocket_or_a_tunnel_gets_none(server: RealServer, asked: bytes, status: bytes) -> None:
    with connect(server.port) as connection:
        connection.sendall(asked + b"host: localhost\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(10_000), b""))
    assert answer.split()[1] == status and answer.count(b"HTTP/1.1 ") == 1
    assert "Traceback" not in server.log


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (encode(2, "connection: close"), 200),
        (encode(2, version="1.0"), 200),
        (encode(2, "content-length: 3"), 400),
        (b"POST /predict HTTP/1.1\r\nhost: localhost\r\nbad header\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20, 400),
    ],
)
def test_the_last_request_of_a_connection(server: RealServer, content: bytes, status: int) -> None:
    with connect(server.port) as connection:
        connection.sendall(content)
        ((found, headers, _),) = read_answers(connection, 1)
        assert (found, headers["connection"]) == (status, "close")
        assert connection.recv(1) == b""


def test_accept_may_come_in_several_lines(server: RealServer) -> None:
    with connect(server.port) as connection:
        for lines in (["accept: text/csv", "accept: */*"], ["Accept: application/json;q=0.5", "accept: text/csv"]):
            connection.sendall(encode(2, *lines))
            ((status, headers, _),) = read_answers(connection, 1)
            assert (status, headers["content-type"]) == (200, "text/csv")


def test_a_length_with_more_digits_than_anybody_needs(server: RealServer, told: dict[int, float]) -> None:
    request = encode(2)
    with connect(server.port) as connection:
        for zeros, expected in ((10, 200), (5_000, 400), (0, 200)):
            connection.sendall(request.replace(b"content-length: ", b"content-length: " + b"0" * zeros))
            ((status, _, body),) = read_answers(connection, 1)
            assert status == expected, body
    assert "Traceback" not in server.log


@pytest.mark.parametrize("target", ["/predict?a=b", "/%70redict", "http://localhost/predict"])
def test_other_ways_to_write_a_path(server: RealServer, told: dict[int, float], target: str) -> None:
    with connect(server.port) as connection:
        connection.sendall(encode(8, target=target))
        ((status, _, body),) = read_answers(connection, 1)
    assert (status, prediction(body)) == (200, told[8])


def test_what_is_too_large_to_be_held_is_answered_all_the_same(server: RealServer, told: dict[int, float]) -> None:
    padding = b" " * (HELD_BYTES + 10_000)
    head, _, body = encode(3).partition(b"\r\n\r\n")
    head = head.replace(b"content-length: %d" % len(body), b"content-length: %d" % (len(body) + len(padding)))
    with connect(server.port) as connection:
        for _ in range(2):
            connection.sendall(head + b"\r\n\r\n" + body + padding)
            ((status, _, content),) = read_answers(connection, 1)
            assert (status, prediction(content)) == (200, told[3])


def test_too_much_in_one_piece_is_refused_and_the_connection_goes_on(server: RealServer) -> None:
    large = b"x" * 200_001
    head = (
        b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 200001\r\n\r\n"
    )
    with connect(server.port) as connection:
        connection.sendall(head + large)
        ((status, _, body),) = read_answers(connection, 1)
        assert (status, "larger than" in body.decode()) == (413, True)
        connection.sendall(encode(1))
        assert read_answers(connection, 1)[0][0] == 200


def test_a_client_that_leaves_at_once_harms_nobody(server: RealServer, told: dict[int, float]) -> None:
    for _ in range(50):
        with connect(server.port) as connection:
            connection.sendall(encode(1))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # a reset, not an end
    assert server.client.post("/predict", json={"rows": [{**ROW, "rooms": 2}]}).json()["predictions"] == [told[2]]
    assert "Traceback" not in server.log


class Slow:
    """Answers after a while, and counts."""

    def __init__(self) -> None:
        self.begun = self.gone = 0
        self.observed: list[str] = []
        self.scopes: list[Scope] = []

    async def respond(self, scope: Scope, receive: Receive, arrived: float) -> tuple[str, Answer]:
        self.begun += 1
        self.scopes.append(scope)
        body = (await receive())["body"]
        await asyncio.sleep(float(body))
        if scope["path"] == "/until-gone":
            while (await receive())["type"] != "http.disconnect":
                pass
            self.gone += 1
        if scope["path"] == "/broken":
            return "/broken", Answer(200, b"", headers={"x-broken": "a\r\nb: c"})
        return str(scope["path"]), Answer(200, bytes(body))

    def observe(self, label: str, answer: Answer, arrived: float) -> None:
        self.observed.append(label)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        label, answer = await self.respond(scope, receive, 0.0)
        await send_answer(answer, send)
        self.observe(label, answer, 0.0)


@contextmanager
def run_slow(keep_alive: int = KEEP_ALIVE, only_whole: bool = True) -> Iterator[tuple[int, uvicorn.Server, Slow]]:
    """A server of our protocol in a thread, with short patience for idle connections and for heads.

    Requests that are not taken as whole ones fail if they are to be `only_whole`.
    """
    slow = Slow()

    async def nobody(scope: Scope, receive: Receive, send: object) -> None:
        raise AssertionError("not asked in these tests")

    protocol = type("Protocol", (WholeProtocol,), {"application": slow, "head_seconds": HEAD_SECONDS})
    config = uvicorn.Config(
        nobody if only_whole else slow,
        http=protocol,
        log_config=None,
        lifespan="off",
        timeout_keep_alive=keep_alive,
        port=0,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        wait_for(lambda: server.started)
        yield listener.getsockname()[1], server, slow
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


def ask(connection: http.client.HTTPConnection, seconds: float, path: str = "/wait") -> bytes:
    connection.request("POST", path, str(seconds))
    return connection.getresponse().read()


def test_idle_connections_are_closed_and_busy_ones_are_not() -> None:
    with run_slow() as (port, _, slow):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.connect()
        for seconds in (0.0, 1.5 * KEEP_ALIVE, 0.0):  # the second takes longer than an idle connection may live
            assert float(ask(connection, seconds)) == seconds
            time.sleep(0.5 * KEEP_ALIVE)
            opened = connection.sock
        start = time.monotonic()
        assert opened is not None and opened.recv(1) == b""
        assert time.monotonic() - start < 3 * KEEP_ALIVE
        assert slow.observed == ["/wait"] * 3


def test_who_waits_for_the_client_to_leave_is_told_and_keeps_nobody_waiting() -> None:
    with run_slow() as (port, _, slow):
        leaving = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        leaving.request("POST", "/until-gone", "0.0")
        wait_for(lambda: slow.begun == 1)
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=3)) as other:
            assert ask(other, 0.0) == b"0.0"
        assert slow.gone == 0
        leaving.close()
        wait_for(lambda: slow.gone == 1)


def test_what_has_begun_is_answered_when_the_server_stops() -> None:
    with run_slow() as (port, server, slow):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("POST", "/wait", "0.7")
        wait_for(lambda: slow.begun == 1)
        server.should_exit = True
        answer = connection.getresponse()
        assert (answer.status, answer.read(), answer.getheader("connection")) == (200, b"0.7", "close")


def test_a_header_that_would_be_two_is_never_sent() -> None:
    with run_slow() as (port, _, slow):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with pytest.raises(http.client.RemoteDisconnected):
            ask(connection, 0.0, "/broken")
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as other:
            assert ask(other, 0.0) == b"0.0"
        assert slow.observed == ["/wait"]


def test_who_is_asked_knows_which_address_was_reached_and_from_where() -> None:
    with run_slow() as (port, _, slow), contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        assert ask(connection, 0.0) == b"0.0"
        client = connection.sock.getsockname()
    assert [(scope["server"], scope["client"]) for scope in slow.scopes] == [(("127.0.0.1", port), client)]


HEAD = b"POST /wait HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\n"


@pytest.mark.parametrize(
    "content",
    [
        b"POST /" + b"x" * HEAD_BYTES + b" HTTP/1.1\r\n\r\n",
        HEAD + b"x-long: " + b"x" * HEAD_BYTES + b"\r\n\r\n0.0",
        HEAD + b"x-many: x\r\n" * (HEAD_BYTES // 10) + b"\r\n0.0",
        HEAD + b"x-endless: " + b"x" * 20 * HEAD_BYTES,
    ],
    ids=["target", "one header", "many headers", "no end"],
)
@pytest.mark.parametrize("size", [30_000, 10_000_000], ids=["in pieces", "at once"])
def test_a_head_that_is_too_large_is_refused(content: bytes, size: int) -> None:
    with run_slow(75) as (port, _, slow), connect(port) as connection:
        connection.sendall(HEAD + b"\r\n0.0")
        assert read_answers(connection, 1)[0][0] == 200
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it need not be read to the end
            for start in range(0, len(content), size):
                connection.sendall(content[start : start + size])
                time.sleep(0.005)
        wait_for(lambda: slow.observed == ["/wait", "other"])
        with contextlib.suppress(ConnectionResetError):  # it was closed while more was on its way
            ((status, headers, body),) = read_answers(connection, 1)
            assert (status, headers["connection"]) == (431, "close") and b"65,536 bytes" in body
        assert slow.begun == 1


@pytest.mark.parametrize("begun", [b"P", HEAD, HEAD + b"x-slow: "])
def test_a_head_that_takes_its_time_is_given_up(begun: bytes) -> None:
    with run_slow(75) as (port, _, slow), connect(port) as connection:
        for _ in range(3):
            connection.sendall(HEAD + b"\r\n0.0")
            assert read_answers(connection, 1)[0][0] == 200
        connection.sendall(begun)
        ((status, headers, body),) = read_answers(connection, 1)
        assert (status, headers["connection"]) == (408, "close") and b"did not arrive within 0.5 s" in body
        assert connection.recv(1) == b""
    assert slow.observed == ["/wait"] * 3 + ["other"]


def test_a_head_may_begin_while_the_request_before_it_is_answered() -> None:
    """Its time, and that of an idle connection, count neither then nor while it is answered itself."""
    with run_slow() as (port, _, slow), connect(port) as connection:
        connection.sendall(HEAD + b"\r\n1.2" + HEAD[:20])
        assert read_answers(connection, 1)[0][0] == 200
        connection.sendall(HEAD[20:] + b"\r\n1.5")
        assert read_answers(connection, 1)[0][2] == b"1.5"
    assert slow.observed == ["/wait"] * 2


@pytest.mark.parametrize("sent", [b"", b"\r\n"])
def test_a_connection_that_asks_nothing_is_closed(sent: bytes) -> None:
    with run_slow() as (port, _, slow), connect(port) as connection:
        connection.sendall(sent)
        assert connection.recv(1) == b""
    assert slow.begun == 0


def test_what_follows_a_body_is_dropped() -> None:
    with run_slow() as (port, _, slow), connect(port) as connection:
        head = HEAD.replace(b"content-length: 3", b"transfer-encoding: chunked")
        connection.sendall(head + b"\r\n3\r\n0.0\r\n0\r\n" + b"x-late: x\r\n" * 100 + b"\r\n")
        assert read_answers(connection, 1)[0][0] == 200
    assert [name for name, _ in slow.scopes[0]["headers"]] == [b"host", b"transfer-encoding"]


FOLLOWING = {
    "malformed": b"nonsense\r\n\r\n",
    "too large": HEAD + b"x-long: " + b"x" * HEAD_BYTES + b"\r\n\r\n0.0",
    "endless": HEAD + b"x-endless: " + b"x" * 20 * HEAD_BYTES,
}


@pytest.mark.parametrize("following", FOLLOWING.values(), ids=FOLLOWING)
@pytest.mark.parametrize("pause", [0.0, 0.1])
@pytest.mark.parametrize("held", [True, False])
def test_what_was_asked_before_a_broken_head_is_answered(following: bytes, pause: float, held: bool) -> None:
    first = (HEAD if held else HEAD.replace(b"/wait", b"/wait?")) + b"\r\n0.5"
    with run_slow(only_whole=held) as (port, _, slow), connect(port) as connection:
        connection.sendall(first)
        time.sleep(pause)
        connection.sendall(following)
        connection.sendall(HEAD + b"\r\n0.0")
        ((status, headers, body),) = read_answers(connection, 1)
        assert (status, headers["connection"], body) == (200, "close", b"0.5")
        assert connection.recv(1) == b""
        assert slow.observed == ["/wait"]


def test_all_of_a_pipeline_before_a_broken_head_is_answered() -> None:
    with run_slow(only_whole=False) as (port, _, _), connect(port) as connection:
        connection.sendall((HEAD + b"\r\n0.2") * 3 + b"nonsense\r\n\r\n")
        answers = read_answers(connection, 3)
        assert [(status, body) for status, _, body in answers] == [(200, b"0.2")] * 3
        assert [headers.get("connection") for _, headers, _ in answers] == [None, None, "close"]
        assert connection.recv(1) == b""


def test_a_broken_body_is_refused_in_its_turn() -> None:
    broken = HEAD.replace(b"content-length: 3", b"transfer-encoding: chunked") + b"\r\n1\r\n3\r\nnonsense"
    with run_slow() as (port, _, _), connect(port) as connection:
        connection.sendall(HEAD + b"\r\n0.3" + broken)
        first, refused = read_answers(connection, 2)
        assert (first[0], first[2]) == (200, b"0.3")
        assert (refused[0], refused[1]["connection"]) == (400, "close")
        assert connection.recv(1) == b""
    with run_slow(only_whole=False) as (port, _, slow), connect(port) as connection:
        connection.sendall(broken[:-8])
        wait_for(lambda: slow.begun == 1)
        connection.sendall(broken[-8:])
        assert read_answers(connection, 1)[0][0] == 400
