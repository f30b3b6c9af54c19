"""Downloads one file over HTTP: bounded in time, checked, and never left half done."""

from __future__ import annotations

import hashlib
import http.client
import lzma
import os
import shutil
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

from tideline.contracts import TidelineError
from tideline.progress import Bar

TIMEOUT = 10.0  # seconds without a byte; a whole download may take STALLS times as long
STALLS = 30
CHUNK = 1 << 16
LARGEST = 4 << 30  # bytes; more than this is no dataset of ours
_BROKEN = (
    OSError, EOFError, ValueError, TidelineError, http.client.HTTPException, tarfile.TarError, zipfile.BadZipFile,
    zlib.error, lzma.LZMAError,
)  # fmt: skip


class WrongChecksumError(TidelineError):
    """A file is not the one that the task names."""


def download(
    urls: tuple[str, ...], target: Path, member: str = "", sha256: tuple[str, ...] = (), timeout: float | None = None
) -> str:
    """Fetch the first address that answers with the right file into `target`; return that address.

    An archive (.tgz, .tar.gz, .zip) is unpacked: only `member` is read from it. The plain file's
    sha256 must be one of `sha256`, if any are given. Nothing is left behind on failure.
    `timeout` in seconds, default the environment's TIDELINE_DOWNLOAD_TIMEOUT or 10.

    Raises TidelineError that lists each address with its reason; WrongChecksumError if one served a wrong file.
    """
    limit = read_timeout() if timeout is None else timeout
    reasons, kind = [], TidelineError
    target.parent.mkdir(parents=True, exist_ok=True)
    for url in urls:
        with tempfile.TemporaryDirectory(prefix=".download-", dir=target.parent) as folder:
            try:
                received = _receive(url, Path(folder) / "received", limit)
                plain = _unpack(received, member, Path(folder) / "plain")
                check_sha256(plain, sha256, member or "the file")
            except _BROKEN as error:
                reasons.append(f"{url}: {explain(error)}")
                if isinstance(error, WrongChecksumError):
                    kind = WrongChecksumError
                continue
            plain.replace(target)
            return url
    raise kind("; ".join(reasons) or "no address is known")


def read_timeout() -> float:
    """Seconds, from TIDELINE_DOWNLOAD_TIMEOUT; raises TidelineError if it is no positive number."""
    text = os.environ.get("TIDELINE_DOWNLOAD_TIMEOUT", "")
    try:
        value = float(text or TIMEOUT)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise TidelineError(f"TIDELINE_DOWNLOAD_TIMEOUT is {text!r}; expected seconds above zero")
    return value


def hash_file(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: Path, accepted: tuple[str, ...], place: str) -> str:
    """The file's sha256; raises WrongChecksumError naming both hashes if some are `accepted` and this one is not."""
    found = hash_file(path)
    if accepted and found not in accepted:
        raise WrongChecksumError(
            f"wrong checksum of {place}: sha256 is {found}, expected {' or '.join(accepted)}; remove it, and get the "
            "published file, or add its hash to the task's Source.sha256 if you trust it"
        )
    return found


def explain(error: BaseException) -> str:
    """The reason in a few words, without a traceback."""
    if isinstance(error, TidelineError):
        return str(error)
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return f"not reachable ({error.reason})"
    if isinstance(error, TimeoutError):
        return f"timed out ({error})"
    return f"{type(error).__name__}: {error}"


def _receive(url: str, path: Path, timeout: float) -> Path:
    if not url.startswith(("http://", "https://")):
        raise TidelineError("not an http(s) address")
    deadline = time.monotonic() + timeout * STALLS
    request = urllib.request.Request(url, headers={"User-Agent": "tideline"})
    with urllib.request.urlopen(request, timeout=timeout) as answer, path.open("wb") as file:
        size = int(answer.headers.get("Content-Length") or 0)
        if size > LARGEST:
            raise TidelineError(f"{size:,} bytes are more than the {LARGEST:,} allowed")
        with Bar(size, f"download {url.rsplit('/', 1)[-1]} (bytes)") as bar:
            while piece := answer.read1(CHUNK):
                file.write(piece)
                bar.update(len(piece))
                if bar.done > LARGEST:
                    raise TidelineError(f"more than the {LARGEST:,} bytes allowed")
                if time.monotonic() > deadline:
                    raise TidelineError(f"too slow: {bar.done:,} bytes in {timeout * STALLS:.0f} s")
    if size and bar.done != size:
        raise TidelineError(f"cut off: {bar.done:,} of {size:,} bytes arrived")
    return path


def _unpack(path: Path, member: str, target: Path) -> Path:
    """The plain file; the archive's own paths are only compared with `member`, never written to."""
    if not member:
        return path
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if member not in archive.namelist():
                raise TidelineError(f"the archive holds no {member!r}, only {_few(archive.namelist())}")
            return _copy(lambda: archive.open(member), archive.getinfo(member).file_size, target)
    if tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            known = {entry.name.removeprefix("./"): entry for entry in archive.getmembers()}
            if member not in known or not known[member].isfile():
                raise TidelineError(f"the archive holds no file {member!r}, only {_few(list(known))}")
            return _copy(lambda: cast(IO[bytes], archive.extractfile(known[member])), known[member].size, target)
    raise TidelineError("the answer is neither a zip nor a tar archive (a sign-in page of the network, perhaps)")


def _copy(open_member: Callable[[], IO[bytes]], size: int, target: Path) -> Path:
    if size > LARGEST:
        raise TidelineError(f"the unpacked file's {size:,} bytes are more than the {LARGEST:,} allowed")
    with open_member() as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, CHUNK)
    return target


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
