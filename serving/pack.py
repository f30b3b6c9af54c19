"""Pack the server, its code and the champion into one Bento: `python -m serving.pack --task housing`.

A Bento is BentoML's unit of shipping (`bentoml serve`, `bentoml containerize`). It holds serving/, the modules of
tideline that serving imports, the log's migrations, and the bundle under champion/<version>/: it needs neither registry
nor project.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import yaml

import tideline
from serving.settings import PACKED, ROOT, Settings
from serving.source import open_bundle
from tideline.contracts import TidelineError

REQUIREMENTS = (
    "alembic", "bentoml", "httptools", "msgspec", "numpy", "onnxruntime-gpu", "onnxruntime", "prometheus-client",
    "psycopg", "psycopg-binary", "pyarrow", "pyyaml", "sqlalchemy", "uvloop",
)  # fmt: skip
_LIST_MODULES = r"""
import importlib, pkgutil, sys, serving
for module in pkgutil.iter_modules(serving.__path__):
    if module.name not in ("__main__", "pack", "service"):
        importlib.import_module(f"serving.{module.name}")
print(*(module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "tideline"), sep="\n")
"""


def main() -> int:
    """Pack one task's champion; print the Bento's tag."""
    parser = argparse.ArgumentParser(prog="serving.pack", description=__doc__)
    parser.add_argument("--task", default="", help="whose champion")
    parser.add_argument("--bundle", type=Path, help="pack this bundle instead of the champion")
    arguments = parser.parse_args()
    try:
        settings = replace(Settings.from_environment(), task=arguments.task, bundle=arguments.bundle)
        print(pack_service(settings))
    except TidelineError as error:
        print(f"pack: {error}", file=sys.stderr)
        return 1
    return 0


def pack_service(settings: Settings) -> str:
    """Build a Bento in BentoML's store (BENTOML_HOME); its tag, `tideline_<task>:<version>`.

    Raises TidelineError if there is no bundle, it is broken, or BentoML refuses.
    """
    bundle, name = open_bundle(settings)
    with tempfile.TemporaryDirectory(prefix="tideline-pack-") as folder:
        context = Path(folder)
        _copy_code(context)
        shutil.copytree(bundle.path, context / PACKED.name / name)
        description = {
            "service": "serving.service:TidelineService",
            "name": f"tideline_{bundle.manifest.task}",
            "labels": {"task": bundle.manifest.task, "model": bundle.manifest.model, "digest": bundle.digest[:63]},
            "include": ["serving/", "tideline/", f"{PACKED.name}/"],
            "python": {"packages": pin_requirements(), "lock_packages": False},
        }
        (context / "bentofile.yaml").write_text(yaml.safe_dump(description))
        command = [sys.executable, "-m", "bentoml", "build", str(context), "--version", name, "--output", "tag"]
        done = subprocess.run(command, cwd=context, capture_output=True, text=True)
    tags = [line.removeprefix("__tag__:") for line in done.stdout.splitlines() if line.startswith("__tag__:")]
    if done.returncode != 0 or not tags:
        raise TidelineError(f"bentoml build failed:\n{done.stdout}{done.stderr}")
    return tags[0]


def pin_requirements() -> list[str]:
    """What the packed server needs, pinned to what is installed here."""
    pins = []
    for name in REQUIREMENTS:
        try:
            pins.append(f"{name}=={version(name).partition('+')[0]}")
        except PackageNotFoundError:
            if name not in ("onnxruntime", "onnxruntime-gpu", "uvloop"):  # one of the former is here, uvloop on Unix
                raise
    return pins


def _copy_code(context: Path) -> None:
    shutil.copytree(ROOT / "serving", context / "serving", ignore=shutil.ignore_patterns("__pycache__", "pack.py"))
    # A fresh interpreter says which modules the server needs: this one may have imported more.
    listed = subprocess.run([sys.executable, "-c", _LIST_MODULES], cwd=ROOT, capture_output=True, text=True, check=True)
    package = Path(tideline.__file__).parent
    for file in map(Path, listed.stdout.splitlines()):
        target = context / "tideline" / file.relative_to(package)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target)
    # Imported by file when a store is made or brought up to date.
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(package / "migrations", context / "tideline" / "migrations", ignore=ignore, dirs_exist_ok=True)


if __name__ == "__main__":
    sys.exit(main())
