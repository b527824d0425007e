"""The shapes world as a source."""

from collections.abc import Iterable
from itertools import repeat
from typing import Any

from imagen.checks.worlds import World
from imagen.data.source import Example, Source
from imagen.errors import UserError
from imagen.shapes import all_captions, draw, outline, sample_scene
from imagen.tensors import Size

SHAPES = World("the shapes world", "ShapesSource", "")


class ShapesSource(Source):
    """Pictures of the shapes world, drawn on access: row i is a function of (seed, split, i) alone.

    Args:
        seed: of the scenes.
        size: number of rows.
        split: of the shapes world; its compositions are disjoint from those of the other splits.
        resolution: pixels per side.
        outlines: whether rows also have the outline of their scene to condition on.

    Raises:
        UserError: if `size` or `resolution` is below 1.
    """

    def __init__(self, seed: int, size: int, split: str, resolution: int, outlines: bool = False) -> None:
        if size < 1:
            raise UserError(f"size={size} of the shapes world ({split}): at least 1 is needed")
        if resolution < 1:
            raise UserError(f"resolution={resolution} of the shapes world ({split}): at least 1 is needed")
        self.seed, self.size, self.split, self.resolution = seed, size, split, resolution
        self.outlines = outlines

    @property
    def name(self) -> str:
        return f"the shapes world ({self.split})"

    @property
    def world(self) -> World:
        return SHAPES

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "seed": self.seed, "resolution": self.resolution}

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self.size:
            raise IndexError(f"row {index} of {self.name}, which has {self.size}")
        scene = sample_scene(self.seed, index, self.split)
        condition = outline(scene, self.resolution) if self.outlines else None
        return Example(draw(scene, self.resolution), (scene.caption,), index, condition=condition)

    @property
    def has_conditions(self) -> bool:
        return self.outlines

    def captions_by_row(self) -> Iterable[tuple[str]]:
        """Every caption of the split, also those that no row shows: one cache serves every seed and size."""
        return ((caption,) for caption in all_captions(self.split))

    def sizes(self) -> Iterable[Size]:
        return repeat((self.resolution, self.resolution), self.size)

    def at(self, resolution: int) -> "ShapesSource":
        return ShapesSource(self.seed, self.size, self.split, resolution, self.outlines)
