"""What an Arrow stream is going to be, before any of it is unpacked: a small body must not become a large table.

Reads the metadata of its messages, which are FlatBuffers as Arrow's format/Message.fbs describes them.
"""

from __future__ import annotations

import struct

import pyarrow as pa

from serving.errors import Refusal

_HEADER, _DICTIONARY_DATA, _COMPRESSION = 2, 1, 3  # fields of Message, DictionaryBatch, RecordBatch


def count_rows(body: bytes) -> int:
    """Rows that the record batches of a stream say they hold.

    Raises Refusal (415) of compressed buffers, which may be any size when unpacked; pyarrow.ArrowInvalid or ValueError
    if the bytes are no stream.
    """
    rows = 0
    for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(body)):
        if message.type not in ("record batch", "dictionary"):
            continue
        content = message.metadata.to_pybytes()
        try:
            batch = _follow(content, _field(content, _follow(content, 0), _HEADER))
            if message.type == "dictionary":
                batch = _follow(content, _field(content, batch, _DICTIONARY_DATA))
            is_compressed = bool(_field(content, batch, _COMPRESSION))
            length = _field(content, batch, 0)
            size = struct.unpack_from("<q", content, length)[0] if length else 0
        except struct.error as error:
            raise ValueError(f"its metadata is damaged: {error}") from None
        if is_compressed:
            raise Refusal(415, "body", "compressed Arrow buffers are not read; write the stream uncompressed")
        if message.type == "record batch":
            rows += size
    return rows


def _field(content: bytes, table: int, number: int) -> int:
    """Where a field of the table at `table` stands; 0 if it is left out."""
    layout = table - struct.unpack_from("<i", content, table)[0]
    place = 4 + 2 * number
    if place >= struct.unpack_from("<H", content, layout)[0]:
        return 0
    offset: int = struct.unpack_from("<H", content, layout + place)[0]
    return table + offset if offset else 0


def _follow(content: bytes, place: int) -> int:
    """Where the table stands that the offset at `place` leads to."""
    offset: int = struct.unpack_from("<I", content, place)[0]
    return place + offset
