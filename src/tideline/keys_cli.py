"""`tideline keys <verb>`: make, list and revoke the server's API keys."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tideline.keys import SCOPES, add_key, keys_file, read_keys, revoke_key
from tideline.progress import say


def add_key_verbs(verbs: Any) -> None:
    """Add `keys` and its verbs to the parser's verbs."""
    keys = verbs.add_parser("keys", help="make, list and revoke the server's API keys")
    actions = keys.add_subparsers(dest="action", required=True, metavar="ACTION")
    command = actions.add_parser("add", help="make a key; it is shown once")
    command.add_argument("name", help="whose it is")
    command.add_argument("--scope", action="append", choices=SCOPES, help="what it opens; several are possible")
    command.add_argument("--rate", type=float, metavar="N", help="requests a second that it may send")
    command.set_defaults(run=_add)
    command = actions.add_parser("list", help="show all keys")
    command.set_defaults(run=_list)
    command = actions.add_parser("revoke", help="make a key open nothing from now on")
    command.add_argument("name")
    command.set_defaults(run=_revoke)


def _add(arguments: argparse.Namespace) -> None:
    file = keys_file(Path())
    scopes = arguments.scope or ["predict", "feedback"]
    print(add_key(file, arguments.name, scopes, arguments.rate))
    say(f"this is shown once; {file} holds its hash. A server takes it from now on, as `Authorization: Bearer KEY`")


def _list(arguments: argparse.Namespace) -> None:
    keys = read_keys(keys_file(Path())) or []
    for key in keys:
        limit = "" if key.rate is None else f"  {key.rate:g} requests/s"
        state = f"revoked {key.revoked}" if key.revoked else "valid"
        say(f"{key.name:24s}{'+'.join(key.scopes):24s}{key.created}  {state}{limit}")
    if not keys:
        say("there is no key: a server answers without one, on the loopback only")


def _revoke(arguments: argparse.Namespace) -> None:
    revoke_key(keys_file(Path()), arguments.name)
    say(f"{arguments.name} opens nothing from now on")
