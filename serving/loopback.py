"""Who stands behind a request over the loopback, where no key is asked for: a program of this machine, or any page that
a browser on it has open.

A page may send requests anywhere, and one whose own name is made to resolve to 127.0.0.1 may read the answers, too. It
cannot choose what its browser says in `Host`, `Origin` and `Sec-Fetch-Site`.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from serving.asgi import Scope
from serving.errors import Refusal

_WAY_OUT = "`tideline keys add NAME` makes a key, which opens the server to whoever has it"


def refuse_foreign_page(scope: Scope) -> None:
    """Raises Refusal (403) for a request that a page of another origin sent, or may have sent."""
    if scope["server"][1] is None:  # a Unix socket, which no browser reaches
        return
    headers = dict(scope["headers"])
    host, origin = headers.get(b"host", b""), headers.get(b"origin", b"")
    site = headers.get(b"sec-fetch-site", b"")
    if host and not _names_this_machine(host):
        message = f"without keys it has to name this machine, as localhost or 127.0.0.1; {_WAY_OUT}"
        raise Refusal(403, "header host", message, "localhost")
    if site in (b"cross-site", b"same-site") or (origin and origin.partition(b"://")[2].lower() != host.lower()):
        message = f"without keys, pages of other origins are not answered; {_WAY_OUT}"
        raise Refusal(403, "header origin" if origin else "header sec-fetch-site", message)


@lru_cache(maxsize=64)
def is_loopback_address(text: str) -> bool:
    """Whether this is an IP address of the machine that reaches itself."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


@lru_cache(maxsize=64)
def _names_this_machine(host: bytes) -> bool:
    """Of a name or address, and perhaps a port."""
    text = host.decode("latin-1").strip().lower()
    if text.startswith("["):
        name, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    else:
        name, _, port = text.partition(":")
    return (not port or port.isdecimal()) and (name == "localhost" or is_loopback_address(name))
