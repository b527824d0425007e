"""Reads the pictures and captions of a folder from metadata.jsonl or metadata.csv, in it and in its sub-folders.

As in Hugging Face's `imagefolder`, file names are relative to the folder of the metadata file.
"""

import csv
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NoReturn

from imagen.checks.foreign import parse_json
from imagen.data.reading.captions import CaptionColumns, OneColumn
from imagen.data.reading.row_table import Row, RowTable
from imagen.errors import UserError
from imagen.files import open_regular

NAMES = ("metadata.jsonl", "metadata.csv")

MAX_LINE = 1 << 20
"""Bytes. A longer line is not a row of metadata."""


@dataclass(frozen=True)
class Columns:
    """The columns of the file name and of the captions, and of the file name of the picture to condition on."""

    image: str
    captions: CaptionColumns | OneColumn
    condition: str | None = None

    @property
    def first(self) -> str:
        """The column whose caption validation reads."""
        return self.captions.names[0]

    @property
    def needed(self) -> list[tuple[str, str]]:
        """The columns that every row must have, with the options that name them."""
        one = [(self.first, "caption_column")] if isinstance(self.captions, OneColumn) else []
        condition = [] if self.condition is None else [(self.condition, "condition_column")]
        return [(self.image, "image_column"), *one, *condition]

    @property
    def example(self) -> str:
        return json.dumps({self.image: "0001.png", self.first: "a red circle"})


def read_metadata(folder: Path, columns: Columns) -> RowTable:
    """The checked rows of all metadata files of `folder`; a folder's rows come before those of its sub-folders.

    Raises:
        UserError: naming file and line, if a line is not UTF-8, is not a row, lacks a column, repeats a picture, leads
            out of the folder, or has a caption that is not text.
    """
    rows = RowTable(with_conditions=columns.condition is not None)
    unseen = set(columns.captions.names)
    files = _metadata_files(folder)
    for file in files:
        read = _csv_records if file.suffix == ".csv" else _json_records
        metadata = PurePosixPath(file.relative_to(folder).as_posix())
        for line, record in read(file, columns):
            rows.append(_row(record, file, metadata, line, columns))
            unseen -= record.keys()
    if not rows:
        raise UserError(f"{files[0]} lists no pictures; write lines such as {columns.example}")
    if unseen:
        raise UserError(f"{files[0]}: no row has a column {min(unseen)!r}; correct data.train.source.caption_columns")
    if repeated := rows.first_repeated():
        _refuse_repeated(*repeated, folder, columns)
    return rows


def _refuse_repeated(first: Row, again: Row, folder: Path, columns: Columns) -> NoReturn:
    already = f"line {first.line}" + (f" of {first.metadata}" if first.metadata != again.metadata else "")
    raise UserError(
        f"{folder / again.metadata} line {again.line}: {again.file_name!r} is already listed in {already}; keep one "
        f'row for each picture, with all its captions as a list in metadata.jsonl: "{columns.first}": ["one", "other"]'
    )


def _metadata_files(folder: Path) -> list[Path]:
    if not folder.exists():
        raise UserError(f"there is no folder {folder}; give the one that holds your pictures")
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give the folder that holds metadata.jsonl (parquet: data=hub)")
    files: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))  # os.walk follows this order
        listed = [Path(place) / name for name in NAMES if name in names]
        if len(listed) > 1:
            raise UserError(f"{place} has both {' and '.join(NAMES)}; keep one of them")
        files += listed
    if not files:
        empty = "is empty" if not any(folder.iterdir()) else f"has no {' or '.join(NAMES)}"
        example = Columns("file_name", OneColumn("text")).example
        raise UserError(f"{folder} {empty}; write one line for each picture: {example}")
    return files


def _json_records(file: Path, columns: Columns) -> Iterator[tuple[int, Mapping[str, Any]]]:
    expected = f"expected {columns.example}"
    with open_regular(file) as stream:
        for number, line in _lines(stream, file):
            if not line.strip():
                continue
            where = f"{file} line {number}"
            record = parse_json(line.strip(), where, expected, allow_nan=True)
            if not isinstance(record, dict):
                raise UserError(f"{where}: not a JSON object; {expected}")
            yield number, record


def _csv_records(file: Path, columns: Columns) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows of a table whose first row names the columns, each with the number of its first line."""
    with open_regular(file) as stream:
        csv.field_size_limit(MAX_LINE)
        reader = csv.reader(_text(stream, file), strict=True)
        try:
            header = next(reader, [])
            if twice := [name for name in header if header.count(name) > 1]:
                raise UserError(f"{file} line 1: two columns are called {twice[0]!r:.80}; keep one of them")
            last = reader.line_num
            for cells in reader:
                number, last = last + 1, reader.line_num
                if not any(cells):
                    continue
                if len(cells) != len(header):
                    raise UserError(
                        f"{file} line {number}: {len(cells)} cells under {len(header)} column names; put a text that "
                        'holds commas in double quotes: 0001.png,"a circle, red"'
                    )
                yield number, dict(zip(header, cells, strict=True))
        except csv.Error as error:
            raise UserError(
                f"{file} line {reader.line_num}: not a row of a table separated by commas ({error}); expected a first "
                f"line {columns.image},{columns.first} and then rows such as 0001.png,a red circle"
            ) from None


def _text(stream: BinaryIO, file: Path) -> Iterator[str]:
    for number, line in _lines(stream, file):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            place = f"byte {error.object[error.start]:#04x} at {error.start}"
            raise UserError(f"{file} line {number}: not UTF-8 ({place}); save the file as UTF-8") from None


def _lines(stream: BinaryIO, file: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise UserError(f"{file} line {number}: more than {MAX_LINE} bytes; write one line for each picture")
        yield number, line


def _row(record: Mapping[str, Any], file: Path, metadata: PurePosixPath, line: int, columns: Columns) -> Row:
    where = f"{file} line {line}"
    for column, option in columns.needed:
        if column not in record:
            only = ", and separate columns by commas" if file.suffix == ".csv" and len(record) == 1 else ""
            raise UserError(
                f"{where}: no {column!r} among {sorted(record)}; add it or name another with "
                f"data.train.source.{option}{only}"
            )
    file_name = _path_in(record, columns.image, metadata, where)
    captions = columns.captions.read(record, where)
    condition = None if columns.condition is None else _path_in(record, columns.condition, metadata, where)
    return Row(file_name, captions, str(metadata), line, condition)


def _path_in(record: Mapping[str, Any], column: str, metadata: PurePosixPath, where: str) -> str:
    """The path in a column, relative to the folder. `metadata`: the file that it is relative to."""
    name = record[column]
    if not isinstance(name, str) or not name or "\0" in name:
        raise UserError(f"{where}: {column!r} is {name!r:.120}, not the name of a file")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{where}: {name!r} leads out of the folder; use a path relative to it")
    return str(metadata.parent / path)
