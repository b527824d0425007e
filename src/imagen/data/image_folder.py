"""A folder of pictures with captions in metadata files, in the format of Hugging Face's `imagefolder`."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from imagen.checks.worlds import World
from imagen.data.reading.captions import caption_columns as columns_of
from imagen.data.reading.decode import (
    MAX_PIXELS,
    common_size,
    decoded_row,
    picture_file,
    picture_suffixes,
    size_or_problem,
)
from imagen.data.reading.example import RowFiles
from imagen.data.reading.metadata import Columns, read_metadata
from imagen.data.reading.problems import Problem
from imagen.data.source import Example, Source
from imagen.files import fingerprint, sha256_of_file, user_path
from imagen.progress import track
from imagen.tensors import Size

log = logging.getLogger(__name__)


class ImageFolderSource(Source):
    """Pictures under `path`, listed in `path/metadata.jsonl`, one JSON object per line: `{"file_name": …, "text": …}`;
    or in `metadata.csv` with the same columns; or in such files in sub-folders, with names relative to the sub-folder.

    Read here and not by `datasets`, so that errors name the line and nothing is copied to a cache.

    Args:
        path: the folder.
        image_column: key of the file names.
        caption_column: key of the captions: texts, which may be empty, or lists of texts.
        caption_columns: instead, several keys and how often training draws each: {"text": 0.8, "keywords": 0.2}.
        max_pixels: larger pictures are refused before decoding (decompression bombs).
        condition_column: key of the file names of pictures to condition on, such as "condition_file_name"; None: rows
            have none, and such a column is not read.

    Raises:
        UserError: if the folder or its metadata is missing or empty, or a line of the metadata is wrong.
    """

    def __init__(
        self,
        path: str | Path,
        image_column: str = "file_name",
        caption_column: str = "text",
        max_pixels: int = MAX_PIXELS,
        caption_columns: Mapping[str, int | float] | None = None,
        condition_column: str | None = None,
    ) -> None:
        self.path, self.max_pixels, self.condition_column = user_path(path), max_pixels, condition_column
        columns = Columns(image_column, columns_of(caption_column, caption_columns), condition_column)
        self.rows = read_metadata(self.path, columns)

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def world(self) -> World:
        """Known by its metadata files, with all names and captions, wherever the folder lies and whichever columns are
        read."""
        files = sorted(set(self.rows.metadata))
        known = {name: sha256_of_file(self.path / name) for name in files}
        return World(f"the pictures in {self.path.absolute().name}", type(self).__name__, fingerprint(known))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Example:
        row = self.rows[index]
        picture, *condition = (decoded_row(file, self.max_pixels, where) for file, where in self._pictures(index))
        return Example(picture, row.captions.texts, index, row.captions.weights, *condition)

    @property
    def has_conditions(self) -> bool:
        return self.condition_column is not None

    def row_files(self, index: int) -> RowFiles:
        files = (picture_file(file, self.max_pixels, where) for file, where in self._pictures(index))
        return RowFiles(self.rows[index].captions, *files)

    def _pictures(self, index: int) -> list[tuple[Path, str]]:
        """The file of the picture, and of the one to condition on if there is one, each as it is named in messages."""
        row = self.rows[index]
        names = [row.file_name] if row.condition is None else [row.file_name, row.condition]
        return [(self.path / name, f"{self.path / name} ({row.metadata} line {row.line})") for name in names]

    def captions_by_row(self) -> Iterator[tuple[str, ...]]:
        return map(self.rows.texts, range(len(self.rows)))

    def files(self) -> Iterator[Path]:
        return (self.path / row.file_name for row in self.rows)

    def sizes(self) -> Iterator[Size | Problem]:
        self._warn_of_unlisted_files()
        for index in track(range(len(self)), f"Checking the pictures in {self.path}"):
            pictures = self._pictures(index)
            yield common_size(size_or_problem(index, where, file, self.max_pixels) for file, where in pictures)

    def where(self, index: int) -> str:
        return self._pictures(index)[0][1]

    def _warn_of_unlisted_files(self) -> None:
        listed = {row.file_name for row in self.rows} | {row.condition for row in self.rows}
        files = (file for file in self.path.rglob("*") if file.suffix.lower() in picture_suffixes())
        unlisted = [name for file in files if (name := file.relative_to(self.path).as_posix()) not in listed]
        if unlisted:
            log.warning(
                "%s: %d pictures are not listed in the metadata and are not used (first: %s)",
                self.path, len(unlisted), min(unlisted),
            )  # fmt: skip
