"""A folder of pictures with captions in metadata.jsonl, the convention of Hugging Face's `imagefolder`."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from imagen.captions import checked_caption
from imagen.data.decode import MAX_PIXELS, UnreadableImageError, decode
from imagen.data.source import BadExampleError, Example, Source
from imagen.data.transforms import picture_problem
from imagen.errors import UserError
from imagen.files import user_path
from imagen.progress import track

log = logging.getLogger(__name__)

PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jp2"}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of metadata.jsonl."""

    line: int
    file_name: str
    caption: str


class ImageFolderSource(Source):
    """Pictures under `path`, listed in `path/metadata.jsonl`, one JSON object a line: `{"file_name": …, "text": …}`.

    Read here and not by `datasets`, so that a mistake in line 512 is reported as one, and nothing is copied to a cache.

    Args:
        path: the folder.
        image_column: key of the file names, relative to the folder.
        caption_column: key of the captions, which may be empty.
        max_pixels: larger pictures are refused unread (decompression bombs).

    Raises:
        UserError: if folder or metadata are missing or empty, or a line of the metadata is wrong.
    """

    def __init__(
        self,
        path: str | Path,
        image_column: str = "file_name",
        caption_column: str = "text",
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.path, self.max_pixels = user_path(path), max_pixels
        self.rows = read_metadata(self.path, image_column, caption_column)

    @property
    def name(self) -> str:
        return str(self.path)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Example:
        row = self.rows[index]
        try:
            return Example(decode(self.path / row.file_name, self.max_pixels), row.caption, index)
        except UnreadableImageError as error:
            raise BadExampleError(f"{self.where(index)}: {error}") from error

    def captions(self) -> list[str]:
        return [row.caption for row in self.rows]

    def files(self) -> Iterator[Path]:
        return (self.path / row.file_name for row in self.rows)

    def problems(self, min_side: int) -> Iterator[str]:
        self._warn_of_unlisted_files()
        for index, row in enumerate(track(self.rows, f"Checking the pictures in {self.path}")):
            if problem := picture_problem(self.path / row.file_name, self.max_pixels, min_side):
                yield f"{self.where(index)}: {problem}"

    def where(self, index: int) -> str:
        row = self.rows[index]
        return f"{self.path / row.file_name} (metadata.jsonl line {row.line})"

    def _warn_of_unlisted_files(self) -> None:
        listed = {row.file_name for row in self.rows}
        found = (file for file in self.path.rglob("*") if file.suffix.lower() in PICTURE_SUFFIXES)
        unlisted = [name for file in found if (name := file.relative_to(self.path).as_posix()) not in listed]
        if unlisted:
            log.warning(
                "%s: %d pictures are not listed in metadata.jsonl and are not used (first: %s)",
                self.path, len(unlisted), min(unlisted),
            )  # fmt: skip


def read_metadata(folder: Path, image_column: str, caption_column: str) -> list[Row]:
    """The lines of `folder`/metadata.jsonl, checked.

    Raises:
        UserError: naming the line, if one is not UTF-8 or not a JSON object, lacks a column, repeats a file, leads out
            of the folder, or has a caption that is not text.
    """
    file = _metadata_file(folder)
    rows: list[Row] = []
    lines: dict[str, int] = {}
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            row = _parse(line, f"{file} line {number}", number, image_column, caption_column)
            if row.file_name in lines:
                raise UserError(
                    f"{file} line {number}: {row.file_name!r} is already listed in line {lines[row.file_name]}; "
                    "keep one caption for each picture"
                )
            lines[row.file_name] = number
            rows.append(row)
    if not rows:
        raise UserError(f"{file} lists no pictures; each line is to read {_example(image_column, caption_column)}")
    return rows


def _metadata_file(folder: Path) -> Path:
    if not folder.exists():
        raise UserError(f"there is no folder {folder}; give one with data.path=/path/to/pictures")
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give the folder that holds metadata.jsonl (parquet: data=hub)")
    file = folder / "metadata.jsonl"
    if not file.is_file():
        found = "is empty" if not any(folder.iterdir()) else "has no metadata.jsonl"
        raise UserError(f"{folder} {found}; write one line for each picture: {_example('file_name', 'text')}")
    return file


def _parse(line: bytes, where: str, number: int, image_column: str, caption_column: str) -> Row:
    expected = _example(image_column, caption_column)
    try:
        # A byte order mark may open the file; anywhere else it is an error.
        text = line.strip().decode("utf-8-sig" if number == 1 else "utf-8")
        record = json.loads(text)
    except UnicodeDecodeError as error:
        found = f"byte {error.object[error.start]:#04x} at {error.start}"
        raise UserError(f"{where}: not UTF-8 ({found}); save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON ({error.msg} at column {error.colno}); expected {expected}") from None
    except RecursionError:
        raise UserError(f"{where}: JSON nested too deeply; expected {expected}") from None
    if not isinstance(record, dict):
        raise UserError(f"{where}: not a JSON object; expected {expected}")
    for column, option in ((image_column, "image_column"), (caption_column, "caption_column")):
        if column not in record:
            raise UserError(
                f"{where}: no {column!r} among {sorted(record)}; add it or name another with data.train.source.{option}"
            )
    name = record[image_column]
    if not isinstance(name, str) or not name or "\0" in name:
        raise UserError(f"{where}: {image_column!r} is {name!r}, not the name of a file")
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise UserError(f"{where}: {name!r} leads out of the folder; use a path relative to it")
    return Row(number, str(PurePosixPath(name)), checked_caption(record[caption_column], where))


def _example(image_column: str, caption_column: str) -> str:
    return json.dumps({image_column: "0001.png", caption_column: "a red circle"})
