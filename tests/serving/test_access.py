"""API keys: at the command line, in the file, and on a real server that follows them."""

from __future__ import annotations

import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from serving.access import Access
from serving.errors import Refusal
from tests.serving.real_server import RealServer, clean_environment, workers_of
from tests.serving.small_bundle import ROW
from tests.wait import wait_for
from tideline.bundle import Bundle
from tideline.contracts import TidelineError
from tideline.keys import add_key, read_keys, revoke_key
from tideline.watch import FileWatch

OUTSIDE, INSIDE = ("192.0.2.7", 3000), ("127.0.0.1", 3000)


def request(
    key: str = "", server: tuple[str, int | None] = OUTSIDE, header: bytes = b"authorization"
) -> dict[str, Any]:
    value = key.encode() if header == b"x-api-key" else b"Bearer " + key.encode()
    return {"server": server, "headers": [(header, value)] if key else []}


def refuse(access: Access, scope: dict[str, Any], wanted: Any = "predict") -> tuple[int, str]:
    with pytest.raises(Refusal) as caught:
        access.admit(scope, wanted)
    return caught.value.status, caught.value.message


def test_without_a_key_only_this_machine_is_answered(tmp_path: Path) -> None:
    watch = FileWatch(tmp_path / "keys.json")
    access = Access(watch, False, 1)
    for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "127.8.8.8"):
        assert access.admit(request(server=(address, 3000)), "predict") == ""
    for address in ("192.0.2.7", "::ffff:192.0.2.7", "10.0.0.1", "fe80::1", "example"):
        status, message = refuse(access, request(server=(address, 3000)))
        assert status == 401 and "tideline keys add" in message
    assert access.admit(request(server=("/run/tideline.sock", None)), "predict") == ""
    for nowhere in ({"headers": []}, {"headers": [], "server": None}):
        assert refuse(access, nowhere)[0] == 401
    assert Access(watch, True, 1).admit(request(), "predict") == ""


def test_without_a_key_the_server_may_ask_itself_where_it_listens(tmp_path: Path) -> None:
    access = Access(FileWatch(tmp_path / "keys.json"), False, 1, token="own")
    assert access.admit(request("own"), "predict") == "(this server)"
    assert refuse(access, request("other"))[0] == 401


HERE = (b"host", b"localhost:3000")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 200),
        ([HERE], 200),
        ([(b"host", b"127.0.0.1")], 200),
        ([(b"host", b"[::1]:3000")], 200),
        ([(b"host", b"LocalHost")], 200),
        ([HERE, (b"origin", b"http://localhost:3000"), (b"sec-fetch-site", b"same-origin")], 200),
        ([HERE, (b"sec-fetch-site", b"none")], 200),
        ([(b"host", b"elsewhere.example:3000")], 403),
        ([(b"host", b"localhost.example")], 403),
        ([(b"host", b"192.0.2.7:3000")], 403),
        ([(b"host", b"127.0.0.1.example")], 403),
        ([(b"host", b"localhost:x")], 403),
        ([(b"host", b"\xff")], 403),
        ([HERE, (b"origin", b"https://elsewhere.example")], 403),
        ([HERE, (b"origin", b"http://localhost:8080")], 403),
        ([HERE, (b"origin", b"null")], 403),
        ([HERE, (b"sec-fetch-site", b"cross-site")], 403),
        ([HERE, (b"sec-fetch-site", b"same-site")], 403),
    ],
)
def test_without_a_key_pages_of_other_origins_are_refused(
    tmp_path: Path, headers: list[tuple[bytes, bytes]], status: int
) -> None:
    watch, scope = FileWatch(tmp_path / "keys.json"), {"server": INSIDE, "headers": headers}
    access = Access(watch, False, 1)
    if status == 200:
        assert access.admit(scope, "predict") == ""
    else:
        found, message = refuse(access, scope)
        assert found == status and "tideline keys add" in message
    assert Access(watch, True, 1).admit(scope, "predict") == ""
    assert access.admit({**scope, "server": ("/run/tideline.sock", None)}, "predict") == ""


def test_without_a_key_a_page_of_anybody_gets_nothing(server: RealServer) -> None:
    infer = "/v2/models/toy/infer"  # takes a body of no type, which a page may send unasked
    for path in ("/predict", "/explain", "/feedback", infer):
        for headers in ({"host": "elsewhere.example"}, {"origin": "https://elsewhere.example"}):
            answer = server.client.post(path, content=b"{}", headers=headers)
            assert answer.status_code == 403, path
    rebound = {"host": "elsewhere.example"}
    for path in ("/livez", "/readyz", "/healthz", "/metrics"):  # what a probe asks by whatever name
        assert server.client.get(path, headers=rebound).status_code == 200


def test_keys_open_their_scopes_until_they_are_revoked(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    access = Access(FileWatch(file), False, 1)
    asks, labels, admin = (add_key(file, name, [name]) for name in ("predict", "feedback", "admin"))  # type: ignore[list-item]
    access.follow()
    assert access.admit(request(asks), "predict") == "predict"
    assert access.admit(request(labels, header=b"x-api-key"), "feedback") == "feedback"
    assert access.admit(request(admin), "predict") == access.admit(request(admin), "feedback") == "admin"
    assert refuse(access, request(asks), "feedback") == (403, "this key is not for feedback")
    assert refuse(access, request(labels), "predict")[0] == 403
    for key in ("", "tl_", asks[:-1], asks + "x", "é"):
        assert refuse(access, request(key, INSIDE))[0] == 401
    revoke_key(file, "predict")
    access.follow()
    assert refuse(access, request(asks)) == (401, "the key is not known, or was revoked")
    for name in ("feedback", "admin"):
        revoke_key(file, name)
    access.follow()
    assert refuse(access, request("", INSIDE))[0] == 401  # keys were in use here: it does not fall open


def test_a_broken_or_lost_file_leaves_the_old_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key = add_key(file, "one", ["predict"])
    access = Access(FileWatch(file), False, 1)
    kept = file.read_bytes()
    for damage in (lambda: file.write_text("[{"), file.unlink):
        damage()
        with pytest.raises(TidelineError, match=r"keys\.json"):
            access.follow()
        assert access.admit(request(key), "predict") == "one"
        assert refuse(access, request("", INSIDE))[0] == 401
        late = Access(FileWatch(file), True, 1, token="own")  # a worker that is started now
        assert refuse(late, request(key)) == refuse(late, request(key, INSIDE))
        assert refuse(late, request(key))[0] == 503 and "its log says" in refuse(late, request(key))[1]
        assert refuse(late, request("", INSIDE))[0] == 401
        assert late.admit(request("own"), "predict") == "(this server)"
    with pytest.raises(TidelineError, match=r"keys\.json is gone.*restore it from a backup, or remove"):
        add_key(file, "two", ["predict"])
    file.write_bytes(kept)
    for each in (access, late):
        each.follow()
        assert each.admit(request(key), "predict") == "one"
        assert refuse(each, request("other"))[0] == 401


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Nothing can be opened: EMFILE."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_keys_that_could_not_be_read_for_a_moment_are_read_again(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key = add_key(file, "one", ["predict"])
    access = Access(FileWatch(file), False, 1)
    with no_descriptor_left():
        late = Access(FileWatch(file), True, 1)
    assert refuse(late, request(key))[0] == 503
    late.follow()
    assert late.admit(request(key), "predict") == "one"
    revoke_key(file, "one")
    with no_descriptor_left():
        with pytest.raises(TidelineError, match=r"Too many open files.*are still taken"):
            access.follow()
        access.follow()  # said once
        assert access.admit(request(key), "predict") == "one"
    access.follow()
    assert refuse(access, request(key))[0] == 401


def test_a_file_that_was_broken_at_the_start_opens_nothing_when_it_goes(tmp_path: Path) -> None:
    """It came from elsewhere: no mark beside it says that keys were made."""
    file = tmp_path / "keys.json"
    file.write_text("[{")
    access = Access(FileWatch(file), True, 1)
    file.unlink()
    with pytest.raises(TidelineError, match=r"keys\.json is gone; nobody is let in"):
        access.follow()
    assert refuse(access, request("", INSIDE))[0] == 401
    key = add_key(tmp_path / "elsewhere.json", "one", ["predict"])
    (tmp_path / "elsewhere.json").rename(file)
    access.follow()
    assert access.admit(request(key), "predict") == "one"


@pytest.mark.slow
def test_a_worker_that_is_started_again_without_the_file_lets_nobody_in(
    regression_bundle: Bundle, tmp_path: Path
) -> None:
    file = tmp_path / "store" / "keys.json"
    key = add_key(file, "one", ["predict"])
    kept = file.read_bytes()
    with RealServer(["--bundle", str(regression_bundle.path)], tmp_path) as server:
        file.unlink()
        (worker,) = workers_of(server)
        worker.kill()
        wait_for(lambda: [w for w in workers_of(server) if w.pid != worker.pid] and server.is_ready(), 60)
        assert server.predict([ROW]).status_code == 401
        server.client.headers["authorization"] = f"Bearer {key}"
        assert server.predict([ROW]).status_code == 503
        assert "keys.json is gone" in server.log
        file.write_bytes(kept)
        wait_for(lambda: server.predict([ROW]).status_code == 200)


def test_the_file_holds_hashes_and_is_private(tmp_path: Path) -> None:
    file = tmp_path / "store" / "keys.json"
    key = add_key(file, "one", ["feedback", "predict"], rate=2.5)
    assert key not in file.read_text() and key[3:] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (found,) = read_keys(file) or []
    assert (found.name, found.scopes, found.rate, found.revoked) == ("one", ("predict", "feedback"), 2.5, None)
    for name, scopes in (("one", ["predict"]), ("two", []), ("", ["predict"]), ("x", ["root"])):
        with pytest.raises(TidelineError):
            add_key(file, name, scopes)  # type: ignore[arg-type]
    with pytest.raises(TidelineError, match="there are: one"):
        revoke_key(file, "two")


def test_a_rate_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    slow, other = add_key(file, "slow", ["predict"], rate=0.004), add_key(file, "other", ["predict"], rate=10)
    access = Access(FileWatch(file), False, workers=2)
    assert access.admit(request(slow), "predict") == "slow"
    with pytest.raises(Refusal) as caught:
        access.admit(request(slow), "predict")
    assert caught.value.status == 429
    assert 400 < int(caught.value.headers["retry-after"]) <= 500
    for _ in range(5):  # of ten a second, half are this worker's
        assert access.admit(request(other), "predict") == "other"


def test_a_server_follows_the_command(regression_bundle: Bundle, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "tideline.cli", "keys", *arguments]
        done = subprocess.run(
            command, env=clean_environment(tmp_path), cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout

    with RealServer(["--bundle", str(regression_bundle.path)], tmp_path) as server:
        assert server.predict([ROW]).status_code == 200
        key = run("add", "shop", "--scope", "predict", "--scope", "feedback").split()[0]
        wait_for(lambda: server.predict([ROW]).status_code == 401)
        refused = server.predict([ROW])
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.json()["error"]["path"] == "header authorization"
        assert server.client.get("/model").status_code == 200

        server.client.headers["authorization"] = f"Bearer {key}"
        name = server.predict([ROW]).json()["prediction_ids"][0]
        label = {"labels": [{"prediction_id": name, "label": 1}]}
        assert server.client.post("/feedback", json=label).status_code == 200
        assert "shop" in run("list")
        run("revoke", "shop")
        wait_for(lambda: server.predict([ROW]).status_code == 401)
        assert "revoked" in run("list")
        assert key not in server.log
