"""What the headers say of every picture: which cannot be used, and which bucket each belongs to."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain

import numpy as np
from jaxtyping import Int64

from imagen.data.buckets.shapes import SQUARE, Sizes
from imagen.data.reading.problems import Fault, Problem, too_small
from imagen.data.source import Rows, Source
from imagen.data.transforms import Geometry
from imagen.errors import UserError
from imagen.tensors import Size

RowNumbers = Int64[np.ndarray, "rows"]
"""Rows of a source, in ascending order."""


@dataclass(frozen=True)
class Seen:
    """The headers of all rows of a source: sizes, 1 × 1 where there is none, and the rows that cannot be read."""

    sizes: Sizes
    unreadable: dict[int, Problem]


class Survey:
    """Reads the headers of each source once, 8 bytes a row.

    Args:
        geometry: says which shapes there are, and whether small pictures are enlarged.
        resolution: pixels per side of the squares that are cut from the pictures; of buckets, the square root of the
            area.
    """

    def __init__(self, geometry: Geometry, resolution: int) -> None:
        self.shapes, self.upscale = geometry.shapes, geometry.upscale
        self.sides = self.shapes.at(resolution)
        self._seen: dict[str, Seen] = {}

    def problems(self, origin: Source) -> list[Problem]:
        """Every row of `origin` that cannot be read, or is smaller than its shape."""
        seen = self._look_at(origin)
        needed = np.array(self.sides)[self.shapes.nearest(seen.sizes)]
        small = np.zeros(0, int) if self.upscale else np.flatnonzero((seen.sizes < needed).any(axis=1))
        found = dict(seen.unreadable)
        for row in small.tolist():
            size, wanted = tuple(seen.sizes[row].tolist()), tuple(needed[row].tolist())
            text = f"{origin.where(row)}: {too_small(size, wanted)}"
            found.setdefault(row, Problem(row, Fault.SMALL, text))
        return [found[row] for row in sorted(found)]

    def sizes(self, source: Source) -> Sizes:
        """The size of the picture in each row.

        Raises:
            UserError: if the source does not know.
        """
        sizes = self._look_at(source.origin).sizes
        if len(sizes) < len(source.origin):
            raise UserError(
                f"{source.name}: data.geometry.buckets needs the sizes of all pictures, which "
                f"{type(source.origin).__name__} does not tell; give it a method `sizes`"
            )
        return sizes[origin_rows(source)]

    def sorted(self, source: Source) -> list[RowNumbers]:
        """The rows in each bucket, in the order of the shapes. With a single shape no size has to be known.

        Raises:
            UserError: if there are several and the source does not know the sizes of its pictures.
        """
        if len(self.sides) == 1:
            return [np.arange(len(source))]
        numbers = self.shapes.nearest(self.sizes(source))
        return [np.flatnonzero(numbers == number) for number in range(len(self.sides))]

    def report(self, source: Source) -> str:
        """One line: how many pictures are in each bucket, and how much is cut from them."""
        sizes = self.sizes(source)
        counts = np.bincount(self.shapes.nearest(sizes), minlength=len(self.sides)).tolist()
        full = ", ".join(f"{named(side)}: {count}" for side, count in zip(self.sides, counts, strict=True) if count)
        cut, squares = (100 * shapes.cut(sizes).mean() for shapes in (self.shapes, SQUARE))
        return (
            f"{source.name}: {len(source)} pictures for training in buckets of height × width, {full}; "
            f"{cut:.1f} % of their pixels are cut off, as squares {squares:.1f} %"
        )

    def _look_at(self, origin: Source) -> Seen:
        if origin.name not in self._seen:
            unreadable: dict[int, Problem] = {}
            sides = chain.from_iterable(_sizes(origin, unreadable))
            self._seen[origin.name] = Seen(np.fromiter(sides, np.int32).reshape(-1, 2), unreadable)
        return self._seen[origin.name]


def origin_rows(source: Source) -> RowNumbers:
    """The row of the origin that each row stands for."""
    return np.fromiter(map(source.origin_row, range(len(source))), np.int64, len(source))


def without(source: Source, rows: Collection[int]) -> Source:
    """The source without the rows whose index in the origin is in `rows`; the source itself if it has none of them."""
    if not rows:
        return source
    return Rows(source, np.flatnonzero(~np.isin(origin_rows(source), np.fromiter(rows, np.int64, len(rows)))))


def named(size: Size) -> str:
    """A size as it is shown."""
    return f"{size[0]} × {size[1]}"


def refuse_small_buckets(survey: Survey, source: Source, counts: list[int], batch: int) -> None:
    """Raise UserError if a bucket has some of the `counts` pictures, but not the `batch` of all processes together."""
    too_few = [f"{named(size)} has {n}" for size, n in zip(survey.sides, counts, strict=True) if 0 < n < batch]
    if not too_few:
        return
    enough = [pair for pair, n in zip(survey.shapes.sides, counts, strict=True) if n >= batch]
    ratios = ",".join(f"[{ratio.numerator},{ratio.denominator}]" for ratio in (Fraction(*pair) for pair in enough))
    way_out = f"use data.geometry.buckets=[{ratios}]" if enough else "use data.geometry.buckets=null"
    raise UserError(
        f"{source.name}: of the buckets for training, {', '.join(too_few)} pictures, fewer than the {batch} of a batch "
        f"on all processes together; {way_out}, or a smaller data.batch_size"
    )


def _sizes(origin: Source, unreadable: dict[int, Problem]) -> Iterator[Size]:
    for row, size in enumerate(origin.sizes()):
        if isinstance(size, Problem):
            unreadable[row] = size
            yield 1, 1
        else:
            yield size
