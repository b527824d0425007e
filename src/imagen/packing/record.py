"""What a folder of archives was made from: `shards.json` beside them.

    format, source, columns, rows, rows_per_archive, archives, captions, condition, encoder

It is written before the first archive. Archives are there whole or not at all, so those that are there are finished.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from imagen.checks.foreign import checked_record, read_json
from imagen.checks.worlds import World
from imagen.data.shards.archive import RECORD
from imagen.data.source import Source
from imagen.errors import UserError
from imagen.files import write_json
from imagen.progress import track
from imagen.text.record import differences

FORMAT = 1
MOST_ARCHIVES = 100_000
"""Their names have five digits, by which they are sorted."""

MAX_BYTES = 1 << 20
PLACES = ("path", "index", "cache", "cache_bytes", "download", "embeddings", "max_pixels")
"""Settings of a source that do not decide what its rows hold."""


@dataclass(frozen=True)
class ShardsRecord:
    """What archives hold.

    Args:
        source: the record of the pictures (`World`).
        columns: the settings of the source that decide what its rows hold.
        rows: of the source.
        rows_per_archive: in every archive but the last.
        archives: number of them.
        captions: extension of the members with the captions: "txt", or "json" if a row has several, or one that a
            text file does not keep.
        condition: whether rows have pictures to condition on.
        encoder: fingerprint of the encoder; None: nothing is embedded.
    """

    source: dict[str, Any]
    columns: dict[str, Any]
    rows: int
    rows_per_archive: int
    archives: int
    captions: str
    condition: bool
    encoder: dict[str, Any] | None
    format: int = field(default=FORMAT)

    @classmethod
    def read(cls, folder: Path) -> "ShardsRecord | None":
        """The record in a folder; None if there is none. Raises UserError if it is damaged or of a newer format."""
        path, way_out = folder / RECORD, "restore it, or give another out="
        if not path.exists():
            return None
        value = read_json(path, way_out, MAX_BYTES)
        if isinstance(value, Mapping) and value.get("format") != FORMAT:
            raise UserError(f"{path}: format {value.get('format')!r:.40}, this version writes {FORMAT}; {way_out}")
        return checked_record(cls, value, str(path), way_out)

    def write(self, folder: Path) -> None:
        """Put it into a folder, atomically."""
        write_json(asdict(self), folder / RECORD)

    def names(self) -> list[str]:
        """The file name of every archive."""
        return [f"{number:05d}.tar" for number in range(self.archives)]

    def rows_in(self, archives: Sequence[int]) -> int:
        """Number of rows in some archives, by their numbers."""
        starts = (number * self.rows_per_archive for number in archives)
        return sum(min(self.rows_per_archive, self.rows - start) for start in starts)

    def how_to_read(self, folder: Path) -> str:
        """The overrides with which a training reads the archives."""
        options = ["data=webdataset", f"data.path={folder}", *(["text.mode=shards"] if self.encoder else [])]
        if self.captions == "json":
            options.append("data.train.source.caption_extension=json")
        if self.captions == "json" and self._has_weights:
            options.append("data.train.source.caption_weights=weights")
        if self.condition:
            options.append("data.train.source.condition_extension=condition")
        return " ".join(options)

    @property
    def _has_weights(self) -> bool:
        return bool(self.columns.get("caption_columns") or self.columns.get("caption_weights"))


def begin(folder: Path, source: Source, node: Mapping[str, Any], rows: int, encoder: dict | None) -> ShardsRecord:
    """The record of the archives in `folder`, written there if it is new.

    Args:
        folder: for the archives.
        source: of the rows.
        node: the configuration of the source.
        rows: in every archive.
        encoder: fingerprint of the encoder; None: nothing is embedded.

    Raises:
        UserError: if the folder holds archives of something else, or there would be too many.
    """
    world, archives = World.as_record(source.world), -(-len(source) // rows)
    columns = {name: value for name, value in node.items() if name not in PLACES}
    if archives > MOST_ARCHIVES:
        least = -(-len(source) // MOST_ARCHIVES)
        raise UserError(f"rows={rows}: {len(source)} rows are {archives} archives; give rows={least} or more")
    before = ShardsRecord.read(folder)
    captions = before.captions if before else ""
    record = ShardsRecord(world, columns, len(source), rows, archives, captions, source.has_conditions, encoder)
    if before is not None:
        _refuse_other(folder, before, record)
        return before
    if found := sorted(folder.glob("*.tar")):
        raise UserError(
            f"{folder} holds archives that `imagen shards` did not write ({found[0].name}); give another out="
        )
    record = replace(record, captions=_extension(source))
    record.write(folder)
    return record


def _refuse_other(folder: Path, before: ShardsRecord, record: ShardsRecord) -> None:
    if before.encoder and record.encoder and before.encoder != record.encoder:
        different = differences(before.encoder, record.encoder, between=" there, now ")
        raise UserError(f"{folder} holds embeddings of another text encoder ({different:.300}); give another out=")
    old, new = asdict(before), asdict(record)
    for name in old:
        if old[name] != new[name]:
            raise UserError(
                f"{folder} holds archives of something else ({name}: {old[name]!r:.100} there, now "
                f"{new[name]!r:.100}); give another out="
            )


def _extension(source: Source) -> str:
    """How captions are kept: as text files, unless a row has several, or one that a text file would not keep."""
    rows = track(source.captions_by_row(), f"Looking through the captions of {source.name}", len(source))
    return "txt" if all(len(captions) == 1 and _is_plain(captions[0]) for captions in rows) else "json"


def _is_plain(caption: str) -> bool:
    """Whether a text file gives a caption back as it is."""
    return "\r\n" not in caption and not caption.endswith("\n") and not caption.startswith("\ufeff")
