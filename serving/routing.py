"""Which handler answers a path. Exact paths are looked up; `{name}` in a path stands for one segment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import msgspec

from serving.asgi import Answer, Receive, Scope
from serving.errors import Refusal
from tideline.keys import Scope as KeyScope

STICKY_LENGTH = 200  # of the header that keeps a caller with one version


class Request(msgspec.Struct, frozen=True):
    """One HTTP request on its way to a handler.

    headers: by their names in lower case; of several with one name the last. arrived: on perf_counter's clock.
    names: values of the path's `{name}`s. key: name of the API key; empty if none.
    """

    scope: Scope
    receive: Receive
    headers: Mapping[bytes, bytes]
    arrived: float
    names: Mapping[str, str]
    key: str

    def header(self, name: bytes) -> str:
        """A header's value; empty if it was not sent. `name` in lower case."""
        return self.headers.get(name, b"").decode("latin-1")

    def list_header(self, name: bytes) -> str:
        """A header whose value is a list: all of it, however many lines it was sent in (RFC 9110 5.3)."""
        if len(self.headers) == len(self.scope["headers"]):  # no name came twice
            return self.header(name)
        return b", ".join(value for key, value in self.scope["headers"] if key == name).decode("latin-1")


@dataclass(frozen=True, slots=True)
class Route:
    """A path, its one method, who may ask (None: anybody) and what answers."""

    path: str
    method: str
    handle: Callable[[Request], Awaitable[Answer]]
    needs: KeyScope | None = None


# BentoML answers these itself, with this method.
ELSEWHERE = {"/livez": "GET", "/readyz": "GET", "/healthz": "GET", "/schema.json": "GET"}


class Router:
    """Finds the route of a path. `elsewhere`: paths that somebody else answers, with their method."""

    def __init__(self, routes: Sequence[Route], elsewhere: Mapping[str, str]) -> None:
        self._elsewhere = elsewhere
        self._exact = {route.path: route for route in routes if "{" not in route.path}
        self._patterns = [(route.path.split("/"), route) for route in routes if "{" in route.path]

    def find(self, path: str, raw: bytes | None, method: str) -> tuple[Route, Mapping[str, str]]:
        """The route of a path, and the values of its names. `raw` is the path as it was sent: `%2F` parts no segments.

        Raises Refusal: 404 if there is none, 405 if it does not take this method.
        """
        route, names = self._exact.get(path), _NO_NAMES
        if route is None:
            route, names = self._match(path if raw is None else raw.decode("latin-1").partition("?")[0])
        if route is None:
            if path in self._elsewhere:
                raise wrong_method(path, self._elsewhere[path])
            known = sorted({*self._exact, *("/".join(parts) for parts, _ in self._patterns), *self._elsewhere})
            raise Refusal(404, "path", f"there is no {path[:100]!r}", known)
        if method != route.method and not (method == "HEAD" and route.method == "GET"):
            raise wrong_method(route.path, route.method)
        return route, names

    def _match(self, path: str) -> tuple[Route | None, Mapping[str, str]]:
        parts = path.split("/")
        for pattern, route in self._patterns:
            if len(pattern) == len(parts) and all(p == q or p[:1] == "{" for p, q in zip(pattern, parts, strict=True)):
                pairs = zip(pattern, parts, strict=True)
                return route, {p[1:-1]: unquote(q) for p, q in pairs if p[:1] == "{"}
        return None, _NO_NAMES


def wrong_method(path: str, allowed: str) -> Refusal:
    """Refusal (405) that names the methods which a path takes."""
    methods = f"{allowed}, HEAD" if allowed == "GET" else allowed
    return Refusal(405, "method", f"{path} takes {methods}", methods.split(", "), {"allow": methods})


_NO_NAMES: Mapping[str, str] = {}
