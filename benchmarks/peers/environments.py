"""One virtual environment a peer, with exact pins, made by uv and kept until its pins change."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.contestants import HERE, ROOT

CACHE = ROOT / ".tideline" / "peers"


def find_python(pins: str) -> str:
    """The interpreter of the environment that holds these pins; made first if need be. No pins: this one."""
    if not pins:
        return sys.executable
    content = (HERE / pins).read_bytes()
    folder = CACHE / f"{Path(pins).stem}-{hashlib.sha256(content).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        print(f"installing {pins} into {folder.relative_to(ROOT)} (once)", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        if uv is None:
            sys.exit("no uv here; it makes the peers' environments (`make setup` brings it)")
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
        install = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python)]
        subprocess.run([*install, "-r", str(HERE / pins)], check=True)
        (folder / "complete").touch()
    return str(python)
