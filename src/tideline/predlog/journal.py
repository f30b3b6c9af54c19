"""A journal on the local disk for what the store does not take: checksummed, on the disk when `append` returns.

A folder of segments, each appended to by one process, which holds a lock on it. A segment that nobody holds (of a
process that died, or one that is full) may be claimed by any process, written to the store, and removed. A record is

    4 bytes  mark, which UTF-8 never contains, so that reading goes on behind damage
    4 bytes  length of the payload, little-endian
    4 bytes  CRC-32 of the length and the payload
    payload  JSON in UTF-8
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tideline.predlog.ids import mint_ids
from tideline.predlog.records import StoreUnavailable

MARK = b"\xf5TL\xf6"
_HEAD = struct.Struct("<4sII")
_LENGTH = struct.Struct("<I")
SUFFIX, UNREAD = ".journal", ".unread"


@dataclass(frozen=True)
class Scan:
    """What a segment holds: the payloads that are whole, and how many bytes belong to none of them."""

    payloads: list[bytes] = field(repr=False)
    unread: int


def scan(data: bytes) -> Scan:
    """Find all whole records in a segment's bytes, whatever else is in it."""
    payloads: list[bytes] = []
    position, used = data.find(MARK), 0
    while position >= 0:
        end = _find_end(data, position)
        if end:
            payloads.append(data[position + _HEAD.size : end])
            used += end - position
        position = data.find(MARK, end or position + 1)
    return Scan(payloads, len(data) - used)


def _find_end(data: bytes, position: int) -> int:
    """Where the record at `position` ends; 0 if it is not whole."""
    if position + _HEAD.size > len(data):
        return 0
    _, length, checksum = _HEAD.unpack_from(data, position)
    end: int = position + _HEAD.size + length
    if end > len(data) or checksum != _checksum(memoryview(data)[position + _HEAD.size : end]):
        return 0
    return end


def _checksum(payload: bytes | memoryview) -> int:
    return zlib.crc32(payload, zlib.crc32(_LENGTH.pack(len(payload))))


class Segment:
    """A claimed segment: nobody else appends to it or claims it."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path, self._handle = path, handle
        self._found = scan(path.read_bytes())
        self.payloads = self._found.payloads
        self.is_spoilt = self._found.unread > 0

    def finish(self) -> None:
        """All that could be read is in the store: the file goes; if part of it could not be used, it is kept aside."""
        if self.is_spoilt:
            self.path.rename(self.path.with_suffix(UNREAD))
        else:
            self.path.unlink()
        self.release()

    def release(self) -> None:
        """Leave it for another time, or another process."""
        os.close(self._handle)


class Journal:
    """The journal in `folder`, which is made if it is not there. Not for several threads at once.

    Takes at most `limit` bytes of the disk, in segments of about `segment` bytes.
    """

    def __init__(self, folder: Path, limit: int = 2**30, segment: int = 2**24) -> None:
        self.folder, self.limit, self.segment = folder, limit, segment
        self._handle: int | None = None
        self._path = folder
        self._size = 0

    def append(self, payload: bytes) -> None:
        """Append a record; when it returns, the record is on the disk.

        Raises StoreUnavailable if the disk is full or the journal has reached its limit; then it does not count.
        """
        try:
            self._append(payload)
        except OSError as error:
            self._abandon()
            raise StoreUnavailable(
                f"journal {self.folder} cannot be written: {error.strerror}; free space there, or name another folder"
            ) from error

    def claim(self) -> Iterator[Segment]:
        """Every segment that nobody appends to, oldest first, this process's own among them."""
        self.close()
        for path in self.list_segments():
            if (segment := _claim(path)) is not None:
                yield segment

    def list_segments(self) -> list[Path]:
        """Files that are waiting for the store, oldest first."""
        return sorted(self.folder.glob(f"*{SUFFIX}"))

    def list_unread(self) -> list[Path]:
        """Files that are damaged and were kept aside."""
        return sorted(self.folder.glob(f"*{UNREAD}"))

    def close(self) -> None:
        """End the open segment, so that it may be claimed."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _append(self, payload: bytes) -> None:
        if self._handle is None or self._size + len(payload) > self.segment:
            self._begin(len(payload))
        assert self._handle is not None
        record = _HEAD.pack(MARK, len(payload), _checksum(payload)) + payload
        written = 0
        while written < len(record):
            written += os.write(self._handle, record[written:] if written else record)
        os.fdatasync(self._handle)
        self._size += len(record)

    def _begin(self, need: int) -> None:
        self.close()
        self.folder.mkdir(parents=True, exist_ok=True)
        held = sum(path.stat().st_size for path in self.list_segments())
        if held + max(need, self.segment) > self.limit:
            raise StoreUnavailable(
                f"journal {self.folder} holds {held:,} bytes, its limit is {self.limit:,}; bring the store back"
            )
        self._path = self.folder / f"{mint_ids(1)[0]}{SUFFIX}"
        unlocked = self._path.with_suffix(".new")  # nobody may claim it before the lock is held
        self._handle = os.open(unlocked, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o640)
        self._size = 0
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        unlocked.rename(self._path)
        _sync_folder(self.folder)

    def _abandon(self) -> None:
        """Take back a record that was half written, and begin another segment: after a failed fsync this one's state is
        not known."""
        if self._handle is not None:
            try:
                os.ftruncate(self._handle, self._size)
                if self._size == 0:
                    self._path.unlink()
            except OSError:
                pass  # half a record has no valid checksum: it is never read as one
            self.close()


def _claim(path: Path) -> Segment | None:
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_nlink > 0:  # else another process was faster
            return Segment(path, handle)
    except BlockingIOError:
        pass
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
