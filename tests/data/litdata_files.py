"""Chunks as LitData 0.2.76 writes them, made without it."""

import io
import json
import struct
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from PIL import Image

from imagen.data.litdata_chunks.index_json import LEAF
from imagen.data.litdata_chunks.layout import FOOTER

Row = dict[str, bytes | str]


def picture_row(number: int) -> Row:
    """A captioned picture of 12 × 10 pixels, whose colours tell its number."""
    stream = io.BytesIO()
    Image.new("RGB", (12, 10), (10 * number % 256, number % 256, 0)).save(stream, "PNG")
    return {"image": stream.getvalue(), "caption": f"picture {number}"}


def one_by_one(rows: Sequence[Row]) -> bytes:
    packed = []
    for row in rows:
        values = [value.encode() if isinstance(value, str) else value for value in row.values()]
        packed.append(struct.pack(f"<{len(values)}I", *map(len, values)) + b"".join(values))
    starts = list(accumulate(map(len, packed), initial=4 * (len(rows) + 2)))
    return struct.pack(f"<{len(rows) + 2}I", len(rows), *starts) + b"".join(packed)


def in_arrow(rows: Sequence[Row], in_batch: int = 256, compression: str | None = None) -> bytes:
    import pyarrow

    table, sink = pyarrow.Table.from_pylist(list(rows)), pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_file(
        sink, table.schema, options=pyarrow.ipc.IpcWriteOptions(compression=compression)
    ) as writer:
        for start in range(0, len(rows), in_batch):
            writer.write_table(table.slice(start, in_batch))
    file = sink.getvalue().to_pybytes()
    begin = 4 * (len(rows) + 2)
    return (
        struct.pack(f"<{len(rows) + 2}I", len(rows), *[begin] * (len(rows) + 1))
        + file
        + struct.pack("<I", len(file))
        + FOOTER
    )


def index_of(
    rows: Sequence[int], columns: Sequence[str] = ("image", "caption"), kinds: Sequence[str] = ("bytes", "str")
) -> dict:
    spec = {"type": "builtins.dict", "context": json.dumps(list(columns)), "children_spec": [LEAF] * len(columns)}
    config = {
        "compression": None, "encryption": None, "item_loader": "PyTreeLoader", "data_format": list(kinds),
        "data_spec": json.dumps([1, spec]),
    }  # fmt: skip
    chunks = [{"filename": f"chunk-0-{number}.bin", "chunk_size": count} for number, count in enumerate(rows)]
    return {"chunks": chunks, "config": config}


def write_chunks(folder: Path, rows: Sequence[Row], in_chunk: int, layout=one_by_one, **changes: Sequence[str]) -> Path:
    """A data set in `folder`, which is made."""
    folder.mkdir(parents=True)
    parts = [rows[start : start + in_chunk] for start in range(0, len(rows), in_chunk)]
    for number, part in enumerate(parts):
        (folder / f"chunk-0-{number}.bin").write_bytes(layout(part))
    (folder / "index.json").write_text(json.dumps(index_of([len(part) for part in parts], **changes)))
    return folder
