"""Where the parts of a row lie in a LitData chunk.

A chunk begins with the number of its rows and the places where they begin, one more than rows, all as 4 bytes, little
end first. A row is the sizes of its columns, 4 bytes each, and then the columns. LitData 0.2.76 lays out rows of plain
bytes and texts in another way where it finds pyarrow: all rows begin at the same place, and behind it lies an Arrow IPC
file with its length and a mark. Values are never deserialised by what the index says of them: a picture is bytes, and a
caption is text.
"""

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from jaxtyping import Int64

from imagen.data.litdata_chunks.index_json import AGAIN, ChunkIndex
from imagen.data.reading.captions import CaptionColumns, OneColumn
from imagen.data.reading.tar_headers import Content
from imagen.data.reading.tar_index import MAX_BYTES
from imagen.data.shards.archive import Archive
from imagen.data.shards.samples import MAX_CAPTION_BYTES, SampleTable, TableRules
from imagen.errors import UserError

PICTURES, TEXTS = ("bytes", "jpeg", "image"), ("str", "text")
"""Kinds of columns that hold the file of a picture, and text in UTF-8."""

FOOTER = b"LDARW01\0"

Row = tuple[dict[str, Any], list[int]]
"""The captions by column, and offset and size of each picture."""


@dataclass(frozen=True)
class ChunkRules(TableRules):
    """What is read of the chunks of a data set.

    Args:
        index: of the data set.
        captions: where the captions are.
        pictures: column of the picture, and of the one to condition on if there is one.
    """

    index: ChunkIndex
    captions: CaptionColumns | OneColumn
    pictures: tuple[str, ...]

    @property
    def identity(self) -> str:
        known = repr((self.index.columns, self.index.kinds, self.captions.names, self.pictures))
        return f"litdata\n{hashlib.sha256(known.encode('utf-8', 'surrogateescape')).hexdigest()}"

    def table(self, archive: Archive) -> SampleTable:
        """The rows of a chunk; `keys` are their numbers in it, captions are kept as JSON.

        Raises:
            UserError: if the chunk is damaged or not laid out as its index says, or a column cannot be read.
        """
        places: list[list[int]] = []
        captions: list[bytes] = []
        begun = 0
        with archive.content() as content:
            for number, (texts, pictures) in enumerate(self._rows(content, archive)):
                kept = json.dumps(texts).encode()
                large = [*(size > MAX_BYTES for size in pictures[1::2]), len(kept) > MAX_CAPTION_BYTES]
                if any(large):
                    raise UserError(f"{archive.name} row {number}: more bytes than are read; leave it out")
                captions.append(kept)
                places.append([begun, len(kept), *pictures])
                begun += len(kept)
        if (rows := dict(zip(self.index.files, self.index.rows, strict=True)).get(archive.file_name)) != len(places):
            raise _damaged(archive, f"{len(places)} rows, and index.json says {rows}")
        keys = [str(number).encode() for number in range(len(places))]
        ends = np.cumsum([len(key) + 1 for key in keys], dtype=np.int64) - 1
        blob = np.frombuffer(b"".join(key + b"\n" for key in keys), np.uint8)
        return SampleTable(blob, ends, np.array(places, np.int64), captions=b"".join(captions))

    def _rows(self, content: Content, archive: Archive) -> Iterator[Row]:
        count = int.from_bytes(content.at(0, 4), "little")
        begin = 4 * (count + 2)
        if count == 0 or begin > min(content.size, MAX_BYTES):
            raise _damaged(archive, f"{count} rows in {content.size} bytes")
        starts = np.frombuffer(content.at(0, begin), "<u4")[1:].astype(np.int64)
        if starts[0] != begin or (np.diff(starts) < 0).any() or starts[-1] > content.size:
            raise _damaged(archive, "rows that do not follow each other")
        return (
            self._in_arrow(content, archive, begin)
            if starts[-1] == begin
            else self._one_by_one(content, archive, starts)
        )

    def _one_by_one(self, content: Content, archive: Archive, starts: Int64[np.ndarray, "ends"]) -> Iterator[Row]:
        for name, known in [
            *((name, PICTURES) for name in self.pictures),
            *((name, TEXTS) for name in self.captions.names),
        ]:
            if (kind := self.index.kinds[self.index.columns.index(name)]).partition(":")[0] not in known:
                raise UserError(
                    f"{archive.name}: the column {name!r:.80} is stored as {kind!r:.40}; only {', '.join(known)} are "
                    f"read: {AGAIN}, pictures as the bytes of their files and captions as text"
                )
        head = struct.Struct(f"<{len(self.index.columns)}I")
        for number, (start, stop) in enumerate(pairwise(starts.tolist())):
            sizes = head.unpack(content.at(start, head.size)) if stop - start >= head.size else ()
            ends = list(accumulate(sizes, initial=start + head.size))
            if not sizes or ends[-1] != stop:
                raise _damaged(archive, f"row {number} is not as long as its columns")
            places = dict(zip(self.index.columns, zip(ends, sizes, strict=False), strict=True))
            texts = {}
            for name in self.captions.names:
                if places[name][1] > MAX_CAPTION_BYTES:
                    raise UserError(f"{archive.name} row {number}: {name!r:.80} is too long to be read; leave it out")
                try:
                    texts[name] = content.at(*places[name]).decode("utf-8")
                except UnicodeDecodeError:
                    raise UserError(f"{archive.name} row {number}: {name!r:.80} is not UTF-8; {AGAIN}") from None
            yield texts, [part for name in self.pictures for part in places[name]]

    def _in_arrow(self, content: Content, archive: Archive, begin: int) -> Iterator[Row]:
        import pyarrow

        tail = content.at(content.size - 12, 12)
        length = int.from_bytes(tail[:4], "little")
        start = content.size - len(tail) - length
        if tail[4:] != FOOTER or start < begin or length > MAX_BYTES:
            raise _damaged(archive, f"neither rows nor an Arrow file of at most {MAX_BYTES} bytes behind their places")
        file = pyarrow.py_buffer(content.at(start, length))
        try:
            reader = pyarrow.ipc.open_file(file)
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                batch.validate(full=True)
                texts = [batch.column(name).to_pylist() for name in self.captions.names]
                pictures = [_places(batch.column(name), file, start) for name in self.pictures]
                for row in range(batch.num_rows):
                    captions = {name: column[row] for name, column in zip(self.captions.names, texts, strict=True)}
                    yield captions, [part for column in pictures for part in column[row]]
        except (pyarrow.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
            if isinstance(error, UserError):
                raise
            raise _damaged(
                archive, f"an Arrow file that cannot be read: {' '.join(str(error).split())[:120]}"
            ) from error


def _places(column: Any, file: Any, start: int) -> list[list[int]]:
    """Offset in the chunk and size of each value of an Arrow column of bytes, which lies in `file` as it is."""
    import pyarrow

    wide = pyarrow.types.is_large_binary(column.type)
    if not (wide or pyarrow.types.is_binary(column.type)) or column.null_count:
        raise ValueError(f"pictures are {column.type} with {column.null_count} nulls, not bytes")
    _, ends, values = column.buffers()
    if values is None or not file.address <= values.address <= file.address + file.size - values.size:
        raise ValueError("pictures are empty or compressed")
    ends = np.frombuffer(ends, "<i8" if wide else "<i4")[column.offset : column.offset + len(column) + 1].astype(
        np.int64
    )
    first = start + values.address - file.address
    return [[first + begin, end - begin] for begin, end in pairwise(ends.tolist())]


def _damaged(archive: Archive, what: str) -> UserError:
    return UserError(f"{archive.name}: no whole LitData chunk ({what}); copy it again, or {AGAIN}")
