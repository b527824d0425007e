"""Captioned pictures in the chunks of a LitData data set (`litdata.optimize`)."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagen.checks.arguments import Natural
from imagen.checks.foreign import parse_json
from imagen.checks.worlds import World
from imagen.data.litdata_chunks.index_json import MAX_BYTES, NAME, ChunkIndex
from imagen.data.litdata_chunks.layout import ChunkRules
from imagen.data.reading.captions import Captions
from imagen.data.reading.captions import caption_columns as columns_of
from imagen.data.reading.decode import MAX_PIXELS
from imagen.data.reading.tar_index import read_member
from imagen.data.shards.archive import Archive, LocalArchive
from imagen.data.shards.index import KeptIndex, Samples
from imagen.data.shards.remote import is_remote, remote_files
from imagen.data.shards.source import ArchiveSource
from imagen.errors import UserError
from imagen.files import fingerprint, open_regular, user_path


@dataclass(frozen=True)
class LocalChunk(LocalArchive):
    """A chunk on this disk, whose captions are kept beside its index."""

    has_near_captions = False


class LitDataSource(ArchiveSource):
    """The rows of a data set that `litdata.optimize` wrote, in its order. LitData itself is not needed.

    Where the parts of rows lie is read once from every chunk and stored in `index`, with the captions; a row then takes
    one read of the bytes of its picture, on this disk or in object storage. Nothing is unpickled.

    Args:
        path: the folder with `index.json`, on this disk or at a URL (s3://, gs://, https://).
        index: folder for the places of rows, one file per chunk.
        image_column: key of the picture in a row: the bytes of its file, `litdata.Image`, or a JPEG picture.
        caption_column: key of the caption, a text; or a list of texts where LitData stores rows in Arrow.
        caption_columns: instead, several keys and how often training draws each: {"caption": 0.8, "keywords": 0.2}.
        condition_column: key of a picture to condition on; None: rows have none.
        max_pixels: larger pictures are refused before decoding (decompression bombs).
        cache: folder that keeps parts of remote chunks; needed for them alone.
        cache_bytes: the most that is kept there.

    Raises:
        UserError: if there is no such data set, it cannot be reached, a chunk is damaged, compressed or encrypted, or
            rows have no such columns.
    """

    def __init__(
        self,
        path: str | Path,
        index: str | Path,
        image_column: str = "image",
        caption_column: str = "caption",
        caption_columns: Mapping[str, int | float] | None = None,
        condition_column: str | None = None,
        max_pixels: int = MAX_PIXELS,
        cache: str | Path | None = None,
        cache_bytes: Natural = 0,
    ) -> None:
        self.captions_in, self.max_pixels = columns_of(caption_column, caption_columns), max_pixels
        self.path = str(path).rstrip("/") if is_remote(path) else user_path(path)
        index = user_path(index)
        said = ChunkIndex.read(_index_json(self.path), f"{self.path}/{NAME}")
        pictures = (image_column, *((condition_column,) if condition_column else ()))
        for name in (*pictures, *self.captions_in.names):
            if name not in said.columns:
                raise UserError(
                    f"{self.path}: rows have no {name!r:.80}, but {', '.join(said.columns)}; name it with "
                    "data.train.source.image_column, caption_column, caption_columns or condition_column"
                )
        self.condition_label = condition_column or ""
        self.archives = _chunks(
            self.path, said, index.parent / "remote" if cache is None else user_path(cache), cache_bytes
        )
        kept = KeptIndex(index, ChunkRules(said, self.captions_in, pictures))
        self.samples = Samples(kept.tables(self.archives, f"Reading the index of {self.path}"))
        self._captions_at = [kept.captions(archive) for archive in self.archives]

    @property
    def world(self) -> World:
        """Known by the names of its chunks, the places of its pictures and its captions, wherever they lie."""
        digest = hashlib.sha256(self.samples.places.tobytes())
        for kept in self._captions_at:
            digest.update(kept.read_bytes())
        names = [archive.file_name for archive in self.archives]
        return World(super().world.name, type(self).__name__, fingerprint([names, digest.hexdigest()]))

    def _captions(self, index: int) -> Captions:
        kept = read_member(self._captions_at[self.samples.archive_of(index)], *self.samples.places[index, :2].tolist())
        where = self.where(index)
        record: dict[str, Any] = parse_json(kept, where, "remove the kept index", allow_nan=True)
        return self.captions_in.read(record, where)


def _index_json(path: str | Path) -> bytes:
    """The content of index.json in a folder or at a URL."""
    if isinstance(path, str):
        (file,) = remote_files([f"{path}/{NAME}"])
        return file.read(0, _bounded(file.size, file.name))
    try:
        with open_regular(path / NAME) as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UserError(
            f"there is no {path / NAME}; give the folder that litdata.optimize wrote, with data.path"
        ) from None
    except OSError as error:
        raise UserError(f"{path / NAME} cannot be read: {error.strerror or error}", environment=True) from error
    _bounded(len(content), str(path / NAME))
    return content


def _bounded(size: int, name: str) -> int:
    if size > MAX_BYTES:
        raise UserError(f"{name}: more than {MAX_BYTES} bytes; write fewer, larger chunks")
    return size


def _chunks(path: str | Path, said: ChunkIndex, cache: Path, cache_bytes: int) -> Sequence[Archive]:
    if isinstance(path, str):
        return remote_files([f"{path}/{name}" for name in said.files], cache, cache_bytes)
    chunks = [LocalChunk(path / name) for name in said.files]
    if absent := next((chunk for chunk in chunks if not chunk.path.is_file()), None):
        raise UserError(f"{absent.name} is not there, and {NAME} names it; copy the data set again")
    return chunks
