"""Captioned pictures in tar archives (shards) as img2dataset writes them: `00000.tar` holds `<key>.jpg`, `<key>.txt`
and `<key>.json`."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imagen.checks.arguments import Natural
from imagen.checks.captions import checked_captions
from imagen.checks.foreign import parse_json
from imagen.data.reading.captions import Captions, OneColumn
from imagen.data.reading.captions import caption_columns as columns_of
from imagen.data.reading.decode import MAX_PIXELS
from imagen.data.reading.tar_index import read_member
from imagen.data.shards.archive import Archive, local_archives
from imagen.data.shards.index import KeptIndex, Samples
from imagen.data.shards.remote import is_remote, remote_archives
from imagen.data.shards.samples import SampleRules, SampleTable
from imagen.data.shards.source import ArchiveSource
from imagen.errors import UserError
from imagen.files import user_path

log = logging.getLogger(__name__)


class WebDatasetSource(ArchiveSource):
    """The samples of one tar archive, or of every `*.tar` in a folder, ordered by archive name and position.

    Where the members lie is read once and stored in `index`; a row then takes two reads. Nothing is unpacked. Archives
    in object storage are read by byte ranges; their captions are stored with the index, so a row takes one request.

    Args:
        path: the archive, or the folder of archives, on this disk or at a URL (see `remote_archives`).
        index: folder for the places of members, one file per archive.
        caption_extension: extension of the member that holds the caption: "txt" or "json".
        caption_key: key of the caption, or list of captions, in a JSON member.
        caption_columns: instead, several keys of the JSON member and how often training draws each: {"caption": 0.8,
            "keywords": 0.2}.
        skip_incomplete: skip and count samples without a picture or caption, instead of refusing them.
        max_pixels: larger pictures are refused before decoding (decompression bombs).
        condition_extension: extension of the member that holds a picture to condition on, such as "condition.png";
            None: samples have none.
        caption_weights: key of the JSON member with the list of how often training draws each caption; None: all alike.
        embeddings: "shards": the embedded captions beside each picture are read with it, as `text.mode=shards` needs
            them; anything else: they are not.
        cache: folder that keeps parts of remote archives; needed for them alone.
        cache_bytes: the most that is kept there.

    Raises:
        UserError: if there are no archives or samples, an archive is damaged or cannot be reached, or a sample is
            incomplete or repeated.
    """

    def __init__(
        self,
        path: str | Path,
        index: str | Path,
        caption_extension: str = "txt",
        caption_key: str = "caption",
        skip_incomplete: bool = False,
        max_pixels: int = MAX_PIXELS,
        caption_columns: Mapping[str, int | float] | None = None,
        condition_extension: str | None = None,
        caption_weights: str | None = None,
        embeddings: str | None = None,
        cache: str | Path | None = None,
        cache_bytes: Natural = 0,
    ) -> None:
        self.extension = caption_extension.lower().removeprefix(".")
        condition = (condition_extension or "").lower().removeprefix(".")
        self.condition_label = condition and f".{condition}"
        self.captions_in = columns_of(caption_key, caption_columns)
        if caption_weights is not None:
            if caption_columns is not None:
                raise UserError("caption_weights and caption_columns both say how often captions are drawn; give one")
            self.captions_in = OneColumn(caption_key, caption_weights)
        several = {"caption_columns": caption_columns, "caption_weights": caption_weights}
        for option, value in several.items():
            if value is not None and self.extension != "json":
                raise UserError(
                    f"{option} are read from the JSON beside a picture, not from .{self.extension}; set "
                    "data.train.source.caption_extension=json"
                )
        self.max_pixels = max_pixels
        self.has_embeddings = embeddings == "shards"
        index = user_path(index)
        self.path, self.archives = _archives(
            path, index.parent / "remote" if cache is None else user_path(cache), cache_bytes
        )
        kept = KeptIndex(index, SampleRules(self.extension, condition, self.has_embeddings))
        tables = kept.tables(self.archives, f"Reading the index of {self.path}")
        self._note_incomplete(tables, skip_incomplete)
        self.samples = Samples(tables)
        if not len(self.samples):
            raise UserError(f"{self.path} holds no pictures with a .{self.extension} beside them; check data.path")
        self._captions_at = [None if one.has_near_captions else kept.captions(one) for one in self.archives]

    @property
    def identity(self) -> dict[str, Any]:
        return super().identity | {"caption_extension": self.extension}  # it decides what is incomplete

    def _captions(self, index: int) -> Captions:
        number = self.samples.archive_of(index)
        place = self.samples.places[index, :2].tolist()
        beside = self._captions_at[number]
        content = self.archives[number].read(*place) if beside is None else read_member(beside, *place)
        where = f"{self.where(index)}, .{self.extension}"
        if self.extension == "json":
            return self.captions_in.read(self._in_json(content, where), where)
        try:
            # Strip the byte order mark and white space that editors leave at the ends.
            text = content.decode("utf-8-sig").replace("\r\n", "\n").rstrip("\n")
        except UnicodeDecodeError as error:
            raise UserError(f"{where}: byte {error.start + 1} is not UTF-8; repair or remove the sample") from None
        return Captions(checked_captions(text, where))

    def _in_json(self, content: bytes, where: str) -> dict[str, Any]:
        record = parse_json(content, where, "repair or remove the sample", allow_nan=True)
        first = self.captions_in.names[0]
        if not isinstance(record, dict) or (isinstance(self.captions_in, OneColumn) and first not in record):
            raise UserError(
                f"{where}: no JSON object with the key {first!r}; name another with data.train.source.caption_key"
            )
        return record

    def _note_incomplete(self, tables: Sequence[SampleTable], skip: bool) -> None:
        incomplete = [
            (archive, table) for archive, table in zip(self.archives, tables, strict=True) if table.incomplete
        ]
        if not incomplete:
            return
        archive, table = incomplete[0]
        first = f"{archive.name} {table.first_incomplete}"
        if not skip:
            raise UserError(f"{first}; data.train.source.skip_incomplete=true skips such samples")
        skipped = sum(table.incomplete for _, table in incomplete)
        log.warning("%s: %d incomplete samples are skipped, first %s", self.path, skipped, first)


def _archives(path: str | Path, cache: Path, cache_bytes: int) -> tuple[str | Path, Sequence[Archive]]:
    """What is read, as it is named, and its archives."""
    if is_remote(path):
        return str(path), remote_archives(str(path), cache, cache_bytes)
    return (local := user_path(path)), local_archives(local)
