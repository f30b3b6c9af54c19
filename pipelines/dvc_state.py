"""What a killed DVC may leave in the way of the next one, mended: a torn dvc.lock, a torn or stale rwlock file.

DVC's own locks (.dvc/tmp/lock, .dvc/tmp/rwlock.lock) are the kernel's and die with their holder. But it writes its two
bookkeeping files in place, and takes a process number in the rwlock file for its writer even if it belongs to somebody
else by now.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil
import yaml

from pipelines.single_flight import PLACE
from tideline.contracts import TidelineError
from tideline.files import write_file
from tideline.lineage.cache import hold_dvc

COPY = PLACE / "dvc.lock"


def mend(root: Path = Path()) -> list[str]:
    """Mend what there is to mend; what was done. Raises TidelineError."""
    return [done for done in (mend_lock_file(root), mend_rwlock(root)) if done]


def keep_lock_file(root: Path = Path()) -> None:
    """Copy dvc.lock as it is after a finished stage. Waits while another DVC may write it."""
    with hold_dvc(root):
        content = (root / "dvc.lock").read_bytes()
        write_file(root / COPY, lambda part: part.write_bytes(content))


def mend_lock_file(root: Path = Path()) -> str:
    """If dvc.lock was torn by a kill, put the copy in its place; what was done, or nothing. Raises TidelineError."""
    with hold_dvc(root):
        path, copy = root / "dvc.lock", root / COPY
        if not path.exists() or _is_whole(path):
            return ""
        if not copy.exists():
            raise TidelineError(f"{path} is broken, and there is no copy of it; remove it: all stages run again")
        path.replace(path.with_name("dvc.lock.broken"))
        write_file(path, lambda part: part.write_bytes(copy.read_bytes()))
        return "dvc.lock was torn by a killed process (kept as dvc.lock.broken); went on from its last copy"


def mend_rwlock(root: Path = Path()) -> str:
    """Take dead holders out of DVC's rwlock file, or begin it anew if it is torn; what was done, or nothing."""
    with hold_dvc(root, "rwlock.lock"):
        path = root / ".dvc" / "tmp" / "rwlock"
        if not path.exists():
            return ""
        try:
            held: dict[str, dict[str, Any]] = json.loads(path.read_text())
        except ValueError:
            path.write_text("{}")
            return "DVC's rwlock file was torn by a killed process; began it anew"
        since, dead = path.stat().st_mtime, 0
        for kind, holders in held.items():
            for place, found in list(holders.items()):
                infos = found if kind == "read" else [found]
                alive = [info for info in infos if _is_alive(info, since)]
                dead += len(infos) - len(alive)
                if not alive:
                    del holders[place]
                elif kind == "read":
                    holders[place] = alive
        if not dead:
            return ""
        path.write_text(json.dumps(held))
        return f"took {dead} locks of dead processes out of DVC's rwlock file"


def _is_alive(info: dict[str, Any], since: float) -> bool:
    """False only if the process is gone, or its number went to one that is younger than the entry or is no such DVC."""
    try:
        process = psutil.Process(int(info["pid"]))
        arguments = str(info["cmd"]).split()[1:]
        if process.status() == psutil.STATUS_ZOMBIE or process.create_time() > since + 1:
            return False
        return not arguments or process.cmdline()[-len(arguments) :] == arguments
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _is_whole(path: Path) -> bool:
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    text = path.read_text(errors="replace")
    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except (yaml.YAMLError, Invalid):
        return False
    return text.endswith("\n")  # a cut may leave what is valid by itself
