"""API keys: who may ask the server for what. The file holds hashes only; a key is shown once, when it is made.

A key is 256 random bits, so that a plain SHA-256 of it cannot be turned back by guessing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

import msgspec

from tideline.contracts import TidelineError

Scope = Literal["predict", "feedback", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key. rate: requests a second, None for no limit. created, revoked: UTC, as ISO text; it counts until then."""

    name: str
    hash: str
    scopes: tuple[Scope, ...]
    created: str
    rate: float | None = None
    revoked: str | None = None


def keys_file(home: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """TIDELINE_KEYS_FILE, or the file beside the default store."""
    return Path(environment.get("TIDELINE_KEYS_FILE") or home / "store" / "keys.json").absolute()


def hash_key(key: bytes) -> str:
    """What the file holds of a key."""
    return hashlib.sha256(key).hexdigest()


def read_keys(file: Path) -> list[Key] | None:
    """All keys ever made, the revoked ones, too; None if there never was one.

    Raises TidelineError if the file is broken, or gone although keys were made.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=list[Key])
    except FileNotFoundError:
        if (made := _made_mark(file)).exists():
            way_out = f"restore it from a backup, or remove {made} to begin anew without keys"
            raise TidelineError(f"{file} is gone, and with it the keys that were made; {way_out}") from None
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise TidelineError(f"the keys in {file} cannot be read: {error}; restore the file from a backup") from error


def add_key(file: Path, name: str, scopes: Sequence[Scope], rate: float | None = None) -> str:
    """Make a key; its text, which is kept nowhere. Raises TidelineError if the name is taken, or there is no scope."""
    if not scopes or not set(scopes) <= set(SCOPES):
        raise TidelineError(f"a key needs scopes out of {', '.join(SCOPES)}, got {', '.join(scopes) or 'none'}")
    if not name.isprintable() or not 0 < len(name) <= 100 or (rate is not None and not 0 < rate < 1e9):
        raise TidelineError("a key needs a printable name of at most 100 characters, and a rate above 0, if any")
    text = f"tl_{secrets.token_urlsafe(32)}"
    with _writing(file) as keys:
        if any(key.name == name and key.revoked is None for key in keys):
            raise TidelineError(f"there is a key {name!r} already; revoke it first, or choose another name")
        given = tuple(scope for scope in SCOPES if scope in scopes)
        keys.append(Key(name, hash_key(text.encode()), given, _now(), rate))
    return text


def revoke_key(file: Path, name: str) -> None:
    """From now on this key opens nothing. Raises TidelineError if there is none of that name."""
    with _writing(file) as keys:
        for i, key in enumerate(keys):
            if key.name == name and key.revoked is None:
                keys[i] = msgspec.structs.replace(key, revoked=_now())
                return
        known = ", ".join(key.name for key in keys if key.revoked is None) or "none"
        raise TidelineError(f"there is no key {name!r}; there are: {known}")


@contextmanager
def _writing(file: Path) -> Iterator[list[Key]]:
    """The keys, to be changed in place; written back at the end, in one step, unless something was raised."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f".{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keys = read_keys(file) or []
        yield keys
        temporary = file.with_name(f".{file.name}.tmp")
        with open(temporary, "wb", opener=_open_private) as written:
            written.write(msgspec.json.format(msgspec.json.encode(keys), indent=1) + b"\n")
            written.flush()
            os.fsync(written.fileno())
        temporary.replace(file)
        made = _made_mark(file)
        if not made.exists():
            made.write_text(f"Keys were made: without {file.name} nobody is let in.\n")


def _made_mark(file: Path) -> Path:
    """A file that says that there was a first key: without keys a server is open, and a lost file must not open it."""
    return file.with_name(f".{file.name}.made")


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
