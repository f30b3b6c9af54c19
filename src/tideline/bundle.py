"""What ships: model.onnx, the manifest and the reference sketch, every byte of it hashed.

The manifest holds the sha256 of the other files, and `bundle.sha256` that of the manifest: this digest is the identity
of the bundle (`sha256sum -c bundle.sha256` checks it by hand).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tideline.contracts import Manifest, Task, TidelineError
from tideline.layout import Layout
from tideline.params import Params
from tideline.progress import stage

MODEL, REFERENCE, MANIFEST, DIGEST = "model.onnx", "reference.json", "manifest.json", "bundle.sha256"
FORMAT = 1


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. `digest` is the sha256 (hex) of its manifest, and thereby of all its files."""

    path: Path
    manifest: Manifest
    digest: str

    def read(self, name: str) -> bytes:
        """Content of one file, verified as it is read."""
        content = _read(self.path, name)
        _compare(self.path, name, hashlib.sha256(content).hexdigest(), self.manifest.files[name], f"{MANIFEST} says")
        return content

    def read_reference(self) -> dict[str, Any]:
        """The reference sketch of the training rows (see sketch.py)."""
        return json.loads(self.read(REFERENCE))  # type: ignore[no-any-return]


def write_bundle(path: Path, model: bytes | Path, manifest: Manifest, reference: Mapping[str, Any]) -> Bundle:
    """Write a bundle under a temporary name, then rename it to `path`; what stood there before is replaced.

    `manifest.files` is filled in. The same arguments give the same bytes. Raises TidelineError if a value cannot be
    written as JSON (NaN, infinity).
    """
    content = model if isinstance(model, bytes) else model.read_bytes()
    files = {MODEL: content, REFERENCE: to_json(reference, f"{path}/{REFERENCE}")}
    sealed = replace(manifest, files={k: hashlib.sha256(v).hexdigest() for k, v in files.items()})
    files[MANIFEST] = to_json(sealed.to_dict(), f"{path}/{MANIFEST}")
    digest = hashlib.sha256(files[MANIFEST]).hexdigest()
    files[DIGEST] = f"{digest}  {MANIFEST}\n".encode()

    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        for name, data in files.items():
            write_durably(temporary / name, data)
        _put(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Bundle(path, sealed, digest)


def load_bundle(path: Path) -> Bundle:
    """Open a bundle after verifying every hash.

    Raises TidelineError that names the file that lacks, is too many or differs, with both hashes and the way out.
    """
    if not path.is_dir():
        raise TidelineError(f"no bundle at {path}; build one with `dvc repro`")
    content = _read(path, MANIFEST)
    sealed = _read(path, DIGEST).decode(errors="replace").split()
    digest = hashlib.sha256(content).hexdigest()
    _compare(path, MANIFEST, digest, sealed[0] if sealed else "(empty)", f"{DIGEST} says")
    try:
        raw = json.loads(content)
    except ValueError as error:
        raise _broken(path, f"{MANIFEST} is not JSON ({error})") from None
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise TidelineError(f"bundle {path}: {MANIFEST} is not of format {FORMAT}; build it again with this tideline")
    manifest = Manifest.from_dict(raw)
    found = {p.name for p in path.iterdir()}
    expected = {MODEL, REFERENCE, MANIFEST, DIGEST}
    if set(manifest.files) != {MODEL, REFERENCE}:
        raise _broken(path, f"{MANIFEST} lists the files {sorted(manifest.files)}, not {MODEL} and {REFERENCE}")
    if found != expected:
        lacking, extra = sorted(expected - found), sorted(found - expected)
        raise _broken(
            path, "; ".join([*(f"{n} is missing" for n in lacking), *(f"{n} is not part of it" for n in extra)])
        )
    for name, expected_hash in manifest.files.items():
        _compare(path, name, hash_file(path / name), expected_hash, f"{MANIFEST} says")
    return Bundle(path, manifest, digest)


def copy_bundle(bundle: Bundle, path: Path) -> Bundle:
    """Copy a bundle byte by byte under a temporary name, verify the copy, rename it to `path`, which must be free."""
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        for name in (MODEL, REFERENCE, MANIFEST, DIGEST):
            write_durably(temporary / name, _read(bundle.path, name))
        copied = load_bundle(temporary)
        if copied.digest != bundle.digest:
            raise TidelineError(f"bundle {bundle.path} changed while it was copied; try again")
        temporary.rename(path)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return replace(copied, path=path)


def finish(task: Task, params: Params, layout: Layout) -> None:
    """Stage: the candidate plus its figures on the holdout become the bundle that ships."""
    with stage("bundle", task.name) as log:
        candidate = load_bundle(layout.candidate)
        place = layout.reports / "metrics.json"
        try:
            metrics = json.loads(place.read_text())
        except FileNotFoundError:
            raise TidelineError(f"no {place}; run the evaluate stage first") from None
        claimed, actual = (metrics.get("task"), metrics.get("model")), (task.name, candidate.manifest.model)
        if claimed != actual:
            raise TidelineError(f"{place} is about {claimed}, the candidate is {actual}; run the evaluate stage again")
        manifest = replace(candidate.manifest, metrics={**candidate.manifest.metrics, **metrics})
        bundle = write_bundle(layout.bundle, candidate.read(MODEL), manifest, candidate.read_reference())
        size = sum(p.stat().st_size for p in bundle.path.iterdir())
        log.say(f"{manifest.model}: {size / 1e6:.1f} MB, digest {bundle.digest[:16]}, in {bundle.path}")


def to_json(value: Any, place: str) -> bytes:
    """JSON for people and hashes: indented, keys as given, no NaN. Raises TidelineError naming `place`."""
    try:
        return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except (ValueError, TypeError) as error:
        raise TidelineError(f"{place} cannot be written as JSON: {error}") from error


def hash_file(path: Path) -> str:
    """sha256 (hex) of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until a folder's names (creations, renames) are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _put(temporary: Path, path: Path) -> None:
    retired = path.with_name(f".{path.name}.old-{os.getpid()}")
    shutil.rmtree(retired, ignore_errors=True)
    if path.exists():
        path.rename(retired)
    temporary.rename(path)
    sync_folder(path.parent)
    shutil.rmtree(retired, ignore_errors=True)


def _read(path: Path, name: str) -> bytes:
    try:
        return (path / name).read_bytes()
    except OSError as error:
        raise _broken(path, f"{name} cannot be read ({error.strerror})") from None


def _compare(path: Path, name: str, actual: str, expected: str, says: str) -> None:
    if actual != expected:
        raise _broken(path, f"{name} has sha256 {actual}, but {says} {expected}")


def _broken(path: Path, reason: str) -> TidelineError:
    return TidelineError(
        f"bundle {path} is broken: {reason}. Build it again (`dvc repro`) or, for a served one, roll back "
        "(`tideline rollback`)"
    )
