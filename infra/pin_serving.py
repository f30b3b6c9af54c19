"""Derive requirements-serving.lock from requirements.lock: what the server needs and what that needs, nothing else.

`python infra/pin_serving.py` from the project's root, in the full environment. The pins stay those of the whole.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
HEAD = "# What the server needs of requirements.lock; written by `python infra/pin_serving.py`.\n"
_LINUX = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "extra": ""}


def main() -> int:
    """Write the file."""
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    from serving.pack import REQUIREMENTS

    (ROOT / "requirements-serving.lock").write_text(derive_pins(REQUIREMENTS))
    return 0


def derive_pins(roots: tuple[str, ...]) -> str:
    """The lines of requirements.lock for the roots and all that they need, as the new file's text."""
    pins = read_pins(ROOT / "requirements.lock")
    wanted: set[str] = set()
    waiting = [(name, frozenset[str]()) for name in roots]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = waiting.pop()
        name = canonicalize_name(name)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        if name not in pins:
            raise SystemExit(f"pin_serving: {name} is needed, but requirements.lock does not pin it")
        wanted.add(name)
        waiting += _needs(name, extras)
    return HEAD + "".join(f"{pins[name]}\n" for name in sorted(wanted))


def read_pins(place: Path) -> dict[str, str]:
    """Name -> line, of a file of pins."""
    lines = [line.strip() for line in place.read_text().splitlines()]
    return {canonicalize_name(Requirement(line).name): line for line in lines if line and not line.startswith("#")}


def _needs(name: str, extras: frozenset[str]) -> list[tuple[str, frozenset[str]]]:
    """What a package needs on Linux. One that is not installed here is the other platform's build of one that is."""
    try:
        told = requires(name) or []
    except PackageNotFoundError:
        return []
    found = []
    for requirement in map(Requirement, told):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({**_LINUX, "extra": extra}) for extra in ("", *extras)):
            found.append((requirement.name, frozenset(requirement.extras)))
    return found


if __name__ == "__main__":
    sys.exit(main())
