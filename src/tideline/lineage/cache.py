"""DVC's cache: content by its md5, and what of a version's data is in it, or can be brought from the remote."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from tideline.contracts import TidelineError
from tideline.lineage.graph_lock import Item, hash_content, hash_path

LAST_LINES = 20


def find_cache(root: Path) -> Path:
    """Where the project's cache holds content. Raises TidelineError if the project is none of DVC's."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root.absolute())) as repo:
            return Path(repo.cache.local.path)
    except DvcException as error:
        raise TidelineError(f"{root.absolute()} is no project of DVC's ({error}); `dvc init` makes it one") from error


def locate(cache: Path, md5: str) -> Path:
    """Where the content with this hash lies, if it is there."""
    return cache / md5[:2] / md5[2:]


def list_content(cache: Path, item: Item) -> dict[str, str] | None:
    """Path within the item ("" if it is a file) -> md5; None if the cache does not know the folder's files."""
    if not item.is_folder:
        return {"": item.md5}
    try:
        return {entry["relpath"]: entry["md5"] for entry in json.loads(locate(cache, item.md5).read_bytes())}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise TidelineError(f"{locate(cache, item.md5)} is damaged ({error!r}); remove it and try again") from error


def find_missing(cache: Path, items: Iterable[Item]) -> list[str]:
    """What the cache does not hold, or holds damaged, in words: path and hash."""
    missing = []
    for item in items:
        listed = list_content(cache, item)
        if listed is None:
            missing.append(f"{item.path} ({item.md5})")
            continue
        for name, md5 in listed.items():
            place, path = locate(cache, md5), f"{item.path}/{name}" if name else item.path
            if not place.is_file():
                missing.append(f"{path} ({md5})")
            elif (found := hash_content(place)) != md5:
                missing.append(f"{path} ({md5}; the cache's {place} is damaged, its md5 is {found}: remove it)")
    return missing


def bring(root: Path, cache: Path, items: Iterable[Item]) -> list[str]:
    """Bring what the cache lacks from the default remote; what is in neither (see `find_missing`), and why."""
    wanted = [item for item in items if find_missing(cache, [item])]
    if not wanted:
        return []
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc_data.hashfile.hash_info import HashInfo

    why = ""
    try:
        with Repo(str(root.absolute())) as repo:
            for lacking in (_list_folders, _list_lacking):  # a folder's list of files tells which files to ask for
                if md5s := lacking(cache, wanted):
                    repo.cloud.pull([HashInfo("md5", md5) for md5 in md5s])
    except (DvcException, OSError) as error:
        why = f" (asked the remote: {error})"
    return [f"{text}{why}" for text in find_missing(cache, wanted)]


def _list_folders(cache: Path, items: list[Item]) -> list[str]:
    return [item.md5 for item in items if item.is_folder and not locate(cache, item.md5).is_file()]


def _list_lacking(cache: Path, items: list[Item]) -> list[str]:
    listed = [md5 for item in items for md5 in (list_content(cache, item) or {}).values()]
    return [md5 for md5 in dict.fromkeys(listed) if not locate(cache, md5).is_file()]


def place(cache: Path, item: Item, target: Path) -> None:
    """Put a copy of an item there, where nothing may be yet. Raises TidelineError if it is not in the cache, whole."""
    if missing := find_missing(cache, [item]):
        raise TidelineError(f"not in DVC's cache: {'; '.join(missing)}")
    if item.is_folder:
        target.mkdir(parents=True, exist_ok=True)  # it may be empty
    for name, md5 in (list_content(cache, item) or {}).items():
        file = target / name if name else target
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(locate(cache, md5), file)
    if hash_path(target) != item.md5:
        raise TidelineError(f"{target} does not have the hash {item.md5} after it was copied; try again")


def hold_dvc(root: Path, name: str = "lock") -> AbstractContextManager[object]:
    """Hold a lock of DVC's own for as long as the block lasts; waits while another DVC has it."""
    from dvc.lock import make_lock

    folder = root / ".dvc" / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    held: AbstractContextManager[object] = make_lock(str(folder / name), tmp_dir=str(folder), wait=True)
    return held


def call_dvc(
    root: Path,
    arguments: list[str],
    environment: Mapping[str, str] | None = None,
    progress: Callable[[str], object] = lambda line: None,
) -> str:
    """Run a command of DVC in a project; what it printed. `progress` is told each line.

    Raises TidelineError with the last lines if it failed.
    """
    quiet = {"DVC_NO_ANALYTICS": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "dvc", *arguments]
    lines = []
    with subprocess.Popen(
        command, cwd=root, env={**os.environ, **quiet, **(environment or {})},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            progress(lines[-1])
    if process.returncode:
        tail = "\n".join(filter(None, lines[-LAST_LINES:]))
        raise TidelineError(f"`dvc {' '.join(arguments[:2])}` failed in {root.absolute()}:\n{tail}")
    return "\n".join(lines)
