"""Any captioned Hugging Face data set: saved by `datasets`, in parquet files, or on the hub."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagen.checks.worlds import World
from imagen.data.reading.captions import caption_columns as columns_of
from imagen.data.reading.decode import (
    MAX_PIXELS,
    UnreadableImageError,
    common_size,
    decode,
    picture_file,
    size_or_problem,
)
from imagen.data.reading.example import PictureFile, RowFiles
from imagen.data.reading.problems import BadExampleError, Fault, Problem
from imagen.data.source import Example, Picture, Source
from imagen.errors import UserError
from imagen.files import fingerprint, user_path
from imagen.progress import track
from imagen.tensors import Size

if TYPE_CHECKING:
    from datasets import Dataset

TABLES = (".arrow", ".parquet")
"""Ends of the names of files with rows. Those that `datasets` makes for itself begin with "cache-"."""


class HuggingFaceSource(Source):
    """A split of a data set. Rows are read by `datasets`, pictures are decoded here.

    Args:
        path: a folder written by `save_to_disk`; a parquet file or a folder of them; or, with `download`, the name of
            a data set on the hub.
        split: name of the split. In a folder of parquet files it selects the files whose names begin with `split`; if
            there are none, all files form the split "train". A file, or a data set saved without splits, is read whole.
        image_column: column of pictures: encoded bytes, or paths within the folder of `path`.
        caption_column: column of captions: texts, which may be empty, or lists of texts.
        caption_columns: instead, several columns and how often training draws each: {"text": 0.8, "keywords": 0.2}.
        download: allow reading from the hub (over the network; with HF_HUB_OFFLINE=1 from the hub's cache only).
        revision: revision of the data set on the hub; pin it for repeatable runs.
        max_pixels: larger pictures are refused before decoding (decompression bombs).
        condition_column: column of pictures to condition on, as in `image_column`; None: rows have none.

    Raises:
        UserError: if the data set, the split or a column is missing, or a hub name is given without `download`.
    """

    def __init__(
        self,
        path: str,
        split: str,
        image_column: str = "image",
        caption_column: str = "text",
        download: bool = False,
        revision: str | None = None,
        max_pixels: int = MAX_PIXELS,
        caption_columns: Mapping[str, int | float] | None = None,
        condition_column: str | None = None,
    ) -> None:
        from datasets import Image

        self.path, self.split, self.max_pixels = str(path), split, max_pixels
        self.captions_in = columns_of(caption_column, caption_columns)
        self.image_column, self.condition_column = image_column, condition_column
        table, self.folders = _load(self.path, split, download, revision)
        option_of = "caption_column" if caption_columns is None else "caption_columns"
        pictures = {image_column: "image_column"} | ({condition_column: "condition_column"} if condition_column else {})
        named = [*pictures.items(), *((column, option_of) for column in self.captions_in.names)]
        for column, option in named:
            if column not in table.column_names:
                raise UserError(
                    f"{self.name}: no column {column!r} among {sorted(table.column_names)}; "
                    f"name it with data.train.source.{option}"
                )
        if both := set(pictures) & set(self.captions_in.names):
            raise UserError(f"{self.name}: {min(both)!r} is given as the column of pictures and of captions")
        if len(table) == 0:
            raise UserError(f"{self.name} has no rows; choose another split")
        table = table.select_columns([*pictures, *self.captions_in.names])
        for column, option in pictures.items():
            try:
                table = table.cast_column(column, Image(decode=False))
            except (NotImplementedError, TypeError, ValueError) as error:
                raise UserError(
                    f"{self.name}: column {column!r} holds {table.features[column]}, not pictures; "
                    f"name another with data.train.source.{option}"
                ) from error
        self.table = table

    @property
    def name(self) -> str:
        return f"{self.path} ({self.split})"

    @property
    def identity(self) -> dict[str, Any]:
        # For a data set on the hub, the paths of the cache files contain the revision.
        kept = [file["filename"] for file in self.table.cache_files]
        return {"name": self.name, "image_column": self.image_column, "kept": kept}

    @property
    def world(self) -> World:
        """All splits together. On the hub it is known by its name, on this disk by the names and sizes of its files,
        wherever the folder lies."""
        local = user_path(self.path)
        if not local.exists():
            return World(f"the pictures of {self.path}", type(self).__name__, self.path)
        tables = [file for file in self.files() if file.suffix in TABLES and not file.name.startswith("cache-")]
        known = [
            [str(file.relative_to(local.parent if local.is_file() else local)), file.stat().st_size] for file in tables
        ]
        return World(f"the pictures in {local.absolute().name}", type(self).__name__, fingerprint(known))

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Example:
        row = self.table[index]
        captions = self.captions_in.read(row, self.where(index))
        picture, *condition = (self._decoded(row[column], where) for column, where in self._pictures(index))
        return Example(picture, captions.texts, index, captions.weights, *condition)

    @property
    def has_conditions(self) -> bool:
        return bool(self.condition_column)

    def captions_by_row(self) -> Iterator[tuple[str, ...]]:
        index = 0
        for batch in self.table.select_columns(list(self.captions_in.names)).iter(batch_size=1000):
            assert isinstance(batch, dict)  # a list only where a format was set
            for values in zip(*batch.values(), strict=True):
                yield self.captions_in.read(dict(zip(batch, values, strict=True)), self.where(index)).texts
                index += 1

    def files(self) -> list[Path]:
        local = user_path(self.path)
        return sorted(file for file in local.rglob("*") if file.is_file()) if local.is_dir() else [local]

    def sizes(self) -> Iterator[Size | Problem]:
        for index in track(range(len(self)), f"Checking the pictures in {self.name}"):
            row = self.table[index]
            yield common_size(self._size(index, where, row[column]) for column, where in self._pictures(index))

    def row_files(self, index: int) -> RowFiles:
        row = self.table[index]
        captions = self.captions_in.read(row, self.where(index))
        return RowFiles(captions, *(self._as_it_is(row[column], where) for column, where in self._pictures(index)))

    def _as_it_is(self, cell: dict[str, Any] | None, where: str) -> PictureFile:
        try:
            file = self._file(cell)
        except UnreadableImageError as error:
            raise BadExampleError(f"{where}: {error}", error.fault) from error
        return picture_file(file, self.max_pixels, where)

    def _size(self, index: int, where: str, cell: dict[str, Any] | None) -> Size | Problem:
        try:
            return size_or_problem(index, where, self._file(cell), self.max_pixels)
        except UnreadableImageError as error:
            return Problem(index, error.fault, f"{where}: {error}")

    def _pictures(self, index: int) -> list[tuple[str, str]]:
        """The column of the picture, and of the one to condition on if there is one, each with a name for messages."""
        where = self.where(index)
        condition = [(self.condition_column, f"{where}, {self.condition_column}")] if self.condition_column else []
        return [(self.image_column, where), *condition]

    def _decoded(self, cell: dict[str, Any] | None, where: str) -> Picture:
        try:
            return decode(self._file(cell), self.max_pixels)
        except UnreadableImageError as error:
            raise BadExampleError(f"{where}: {error}", error.fault) from error

    def _file(self, cell: dict[str, Any] | None) -> bytes | Path:
        """The undecoded picture of a cell: its bytes, or its path."""
        if cell and cell.get("bytes") is not None:
            return cell["bytes"]
        if cell and cell.get("path"):
            return _within(self.folders, cell["path"])
        raise UnreadableImageError("no picture", Fault.MISSING)


def _within(folders: tuple[Path, ...], name: str) -> Path:
    """The path `name` of a row, relative to the first of `folders`. It must stay in one of them, because rows may come
    from somebody else."""
    path = Path(os.path.normpath(folders[0] / name))
    inside = any(path.is_relative_to(os.path.normpath(folder)) for folder in folders)
    if "://" in name or "\0" in name or not inside:
        raise UnreadableImageError(f"the picture is {name!r:.200}, which is not within {folders[0]}", Fault.OUTSIDE)
    return path


def _load(path: str, split: str, download: bool, revision: str | None) -> tuple["Dataset", tuple[Path, ...]]:
    """The table, and the folders of the pictures that are not stored in the table itself."""
    local = user_path(path)
    if local.is_dir() and ((local / "dataset_dict.json").is_file() or (local / "state.json").is_file()):
        return _load_saved(local, split), (local,)
    if local.exists():
        return _load_parquet(local, split), (local if local.is_dir() else local.parent,)
    if not download:
        raise UserError(
            f"there is no file or folder {path}; if it is the name of a data set on the hub, allow the network with "
            "data.train.source.download=true"
        )
    from datasets import config
    from huggingface_hub.constants import HF_HUB_CACHE

    caches = (config.HF_CACHE_HOME, config.HF_DATASETS_CACHE, HF_HUB_CACHE)
    return _load_from_hub(path, split, revision), tuple(map(Path, caches))


def _load_saved(folder: Path, split: str) -> "Dataset":
    from datasets import DatasetDict, load_from_disk

    try:
        saved = load_from_disk(str(folder))
    except Exception as error:
        raise UserError(f"{folder} cannot be read by datasets.load_from_disk ({_one_line(error)})") from error
    if not isinstance(saved, DatasetDict):
        return saved
    if split not in saved:
        raise UserError(f"{folder} has no split {split!r}, but {sorted(saved)}")
    return saved[split]


def _load_parquet(path: Path, split: str) -> "Dataset":
    # Not `load_dataset("parquet")`, which sends a usage report over the network.
    from datasets import Dataset

    files = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    if not files or files[0].suffix != ".parquet":
        raise UserError(f"{path} holds no parquet files; a folder with metadata.jsonl is read by data=image_folder")
    if path.is_dir():
        named = [file for file in files if split in (file.name[: len(split)], *file.relative_to(path).parts[:-1])]
        if not named and split != "train":
            raise UserError(f"{path}: none of its {len(files)} parquet files is named after the split {split!r}")
        files = named or files
    if pipe := next((file for file in files if not file.is_file()), None):
        raise UserError(f"{pipe} is not a file; remove it")
    try:
        return Dataset.from_parquet([str(file) for file in files])
    except Exception as error:
        raise UserError(f"{path} cannot be read as parquet ({_one_line(error)})") from error


def _load_from_hub(name: str, split: str, revision: str | None) -> "Dataset":
    from datasets import config, load_dataset

    config.HF_UPDATE_DOWNLOAD_COUNTS = False  # sends no usage report
    try:
        return load_dataset(name, split=split, revision=revision)
    except Exception as error:
        raise UserError(
            f"{name} (split {split!r}) cannot be read from the hub ({_one_line(error)}); check name, split and network",
            environment=True,
        ) from error


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
