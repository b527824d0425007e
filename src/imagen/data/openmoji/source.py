"""OpenMoji as a source of captioned pictures."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Any

from imagen.checks.worlds import World
from imagen.data.openmoji.names import Emoji, all_emoji, openmoji_version
from imagen.data.openmoji.rendering import rendered
from imagen.data.openmoji.splits import as_split, split_of
from imagen.data.reading.captions import CaptionColumns, Captions
from imagen.data.source import Example, Source
from imagen.errors import UserError
from imagen.files import user_path
from imagen.tensors import Size

OPENMOJI = World("OpenMoji", "OpenMojiSource", "")
"""Whichever release: a later one adds pictures."""


class OpenMojiSource(Source):
    """OpenMoji's coloured pictures (CC BY-SA 4.0), captioned with their Unicode names.

    Args:
        split: "train", "validation" or "held_out" (see `imagen.data.openmoji.splits`).
        resolution: pixels per side; drawn from the SVG files.
        folder: where the drawn pictures are kept.
        caption_columns: how often training draws each kind of caption: `name`, `lower` (the name in lower case) and
            `alias` (the shorter names of chat programs).

    Raises:
        UserError: if a package of the extra `pictures` is missing, there is no such split or kind of caption, or
            `resolution` is below 1.
    """

    COLUMNS = ("name", "lower", "alias")

    def __init__(
        self, split: str, resolution: int, folder: str | Path, caption_columns: Mapping[str, int | float] | None = None
    ) -> None:
        if resolution < 1:
            raise UserError(f"resolution={resolution} of OpenMoji: at least 1 is needed")
        self.split, self.resolution, self.folder = as_split(split), resolution, user_path(folder)
        self.columns = CaptionColumns.of(
            {"name": 1.0} if caption_columns is None else caption_columns, known=self.COLUMNS
        )

    @property
    def name(self) -> str:
        return f"OpenMoji {openmoji_version()} ({self.split})"

    @property
    def world(self) -> World:
        return OPENMOJI

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "resolution": self.resolution}

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """The rows of this split among `all_emoji`."""
        return tuple(row for row, emoji in enumerate(all_emoji()) if split_of(emoji) is self.split)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {self.name}, which has {len(self)}")
        row = self.rows[index]
        captions = self._captions(all_emoji()[row])
        return Example(rendered(self.folder, self.resolution)[row], captions.texts, row, captions.weights)

    def captions_by_row(self) -> Iterable[tuple[str, ...]]:
        return (self._captions(all_emoji()[row]).texts for row in self.rows)

    def where(self, index: int) -> str:
        return f"{self.name}: {all_emoji()[self.rows[index]].stem}.svg"

    def sizes(self) -> Iterable[Size]:
        return repeat((self.resolution, self.resolution), len(self))

    def at(self, resolution: int) -> "OpenMojiSource":
        return OpenMojiSource(self.split, resolution, self.folder, dict(self.columns.weights))

    def _captions(self, emoji: Emoji) -> Captions:
        record = {"name": emoji.name, "lower": emoji.name.lower(), "alias": emoji.aliases}
        return self.columns.read(record, f"{self.name}: {emoji.stem}.svg")
