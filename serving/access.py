"""Who may ask for what: API keys with scopes and rates, followed while the server runs."""

from __future__ import annotations

import logging
import math
from time import monotonic

from serving.asgi import Scope
from serving.errors import Refusal
from serving.loopback import is_loopback_address, refuse_foreign_page
from serving.settings import Settings
from tideline.contracts import TidelineError
from tideline.keys import Key, hash_key, keys_file, read_keys
from tideline.keys import Scope as KeyScope
from tideline.watch import FileWatch

logger = logging.getLogger("bentoml.tideline")


def find_keys(settings: Settings) -> FileWatch:
    """The file of keys that the settings name."""
    return FileWatch(settings.keys_file or keys_file(settings.home, {}))


class Access:
    """Admits requests. Without a key ever made, those that come over the loopback, or all if `is_open`.

    A rate is shared by `workers` processes: each grants its part. `token` is the server's own key. Begun with a file of
    keys that is broken or lost, it lets nobody in until the file is back.
    """

    def __init__(self, watch: FileWatch, is_open: bool, workers: int, token: str = "") -> None:
        self._watch, self._is_open, self._workers = watch, is_open, workers
        self._own = Key("(this server)", hash_key(token.encode()), ("predict",), "") if token else None
        self._buckets: dict[str, _Bucket] = {}
        self._keys: dict[str, Key] | None = None
        self._is_lost = False
        self._is_due = self._watch.has_changed()  # until a load has worked: it may fail for want of a descriptor alone
        self._said = ""  # of what keeps it from working
        try:
            self._load()
        except TidelineError as error:  # a worker that is started again while others go on with the keys they have
            self._keys, self._is_lost = {}, True
            logger.error("no key is known: %s", error)

    def follow(self) -> None:
        """Take over keys that were made or revoked.

        If the file is broken or lost, the old keys stay, and it is read again at each call. Raises TidelineError then,
        once for each reason.
        """
        self._is_due = self._watch.has_changed() or self._is_due
        if not self._is_due:
            return
        try:
            self._load()
        except TidelineError as error:
            if str(error) != self._said:
                self._said = str(error)
                state = "nobody is let in" if self._is_lost else "the keys that it held are still taken"
                raise TidelineError(f"{error}; {state}") from error

    def admit(self, scope: Scope, wanted: KeyScope) -> str:
        """The name of the key that a request comes with; empty where none is needed. Raises Refusal."""
        if self._keys is None:
            if wanted == "admin":  # never without a key: a page of anybody's may send requests to this machine
                raise _unauthorized("an admin's key is needed: `tideline keys add NAME --scope admin` makes one")
            if self._is_open:
                return ""
            if _is_loopback(scope):
                refuse_foreign_page(scope)
                return ""
            if self._own and hash_key(_find_key(scope)) == self._own.hash:  # it asks itself where it listens
                return self._own.name
            message = "no key was made yet, so only this machine is answered: `tideline keys add NAME` makes one"
            raise _unauthorized(message)
        presented = _find_key(scope)
        if not presented:
            raise _unauthorized("a key is needed")
        hashed = hash_key(presented)
        key = self._own if self._own and hashed == self._own.hash else self._keys.get(hashed)
        if key is None and self._is_lost:
            message = "the server's keys are damaged or lost, so nobody is let in; its log says how to restore them"
            raise Refusal(503, "header authorization", message, None, {"retry-after": "10"})
        if key is None:
            raise _unauthorized("the key is not known, or was revoked")
        if wanted not in key.scopes and "admin" not in key.scopes:
            raise Refusal(403, "header authorization", f"this key is not for {wanted}", list(key.scopes))
        if key.rate is not None:
            self._spend(key, key.rate / self._workers)
        return key.name

    def _spend(self, key: Key, rate: float) -> None:
        bucket = self._buckets.setdefault(key.hash, _Bucket(rate))
        wait = bucket.spend(rate)
        if wait > 0:
            message = f"this key may send {key.rate:g} requests a second"
            raise Refusal(
                429, "header authorization", message, {"rate": key.rate}, {"retry-after": str(math.ceil(wait))}
            )

    def _load(self) -> None:
        keys = read_keys(self._watch.file)
        if keys is None and self._keys is not None:
            raise TidelineError(f"{self._watch.file} is gone")
        self._keys = None if keys is None else {key.hash: key for key in keys if key.revoked is None}
        self._is_lost = self._is_due = False
        self._said = ""


class _Bucket:
    """Grants `rate` requests a second on average, and those of one second at once."""

    __slots__ = ("at", "left")

    def __init__(self, rate: float) -> None:
        self.left, self.at = max(1.0, rate), monotonic()

    def spend(self, rate: float) -> float:
        """0 if one more is granted, else the seconds until it would be."""
        now = monotonic()
        self.left, self.at = min(max(1.0, rate), self.left + rate * (now - self.at)), now
        if self.left < 1.0:
            return (1.0 - self.left) / rate
        self.left -= 1.0
        return 0.0


def _find_key(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return bytes(value[7:].strip())
        if name == b"x-api-key":
            return bytes(value.strip())
    return b""


def _is_loopback(scope: Scope) -> bool:
    """Judged by the address that was reached: the one it came from may be a proxy's. Without one it is not."""
    server = scope.get("server")
    if server is None:
        return False
    return server[1] is None or is_loopback_address(server[0])  # without a port: a Unix socket


def _unauthorized(message: str) -> Refusal:
    expected = "Authorization: Bearer KEY"
    return Refusal(401, "header authorization", message, expected, {"www-authenticate": "Bearer"})
