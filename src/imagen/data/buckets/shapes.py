"""The shapes that pictures are cut to: the square, or one for each aspect ratio."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from imagen.errors import UserError
from imagen.tensors import Size

COMMON = ((1, 1), (4, 5), (5, 4), (3, 4), (4, 3), (2, 3), (3, 2), (9, 16), (16, 9))
"""Height : width of most photographs and screens."""

Sizes = Int[np.ndarray, "pictures 2"]
"""Height and width of each picture, in pixels."""


@dataclass(frozen=True)
class Shapes:
    """Rectangles of about the same area, the widest first.

    Their sides are counted in steps, `steps` of which make the side of the square of that area. So the shapes are the
    same ones at every resolution, for all stages of a cascade.
    """

    steps: int
    sides: tuple[Size, ...]

    def at(self, resolution: int) -> tuple[Size, ...]:
        """Height and width of each shape in pixels, where the square has `resolution` pixels a side.

        Raises:
            UserError: if a step would not be a whole number of pixels.
        """
        step, rest = divmod(resolution, self.steps)
        if rest:
            raise UserError(
                f"data.geometry.bucket_steps={self.steps} must divide the resolution, {resolution}: choose "
                f"{math.gcd(self.steps, resolution)}, or another number that divides it"
            )
        return tuple((height * step, width * step) for height, width in self.sides)

    def nearest(self, sizes: Sizes) -> Int[np.ndarray, "pictures"]:
        """The number of the shape that each picture is cut to: the one of the nearest ratio, by its logarithm."""
        ratios = _log_ratio(np.array(self.sides))
        return np.searchsorted((ratios[1:] + ratios[:-1]) / 2, _log_ratio(sizes))

    def cut(self, sizes: Sizes) -> Float[np.ndarray, "pictures"]:
        """The share of its pixels that each picture loses when it is cut to its shape."""
        shapes = np.array(self.sides)[self.nearest(sizes)]
        return 1 - np.exp(-np.abs(_log_ratio(sizes) - _log_ratio(shapes)))


SQUARE = Shapes(1, ((1, 1),))


def shapes_near(ratios: Sequence[Sequence[int | float]], steps: int) -> Shapes:
    """For each ratio height : width the sides, in whole steps, of the nearest ratio, among the rectangles whose area
    differs by at most a quarter from the square's. Ratios that get the same sides share them.

    Examples:
        >>> shapes_near([(1, 1), (3, 4), (9, 16)], steps=8).sides
        ((6, 11), (6, 8), (8, 8))

    Raises:
        UserError: if there is no ratio, or one is not two positive numbers.
    """
    if not ratios:
        raise UserError("data.geometry.buckets=[] names no ratio; null cuts squares")
    for ratio in ratios:
        if len(ratio) != 2 or not all(0 < side < math.inf for side in ratio):
            raise UserError(
                f"data.geometry.buckets: {list(ratio)!r:.80} is no ratio height : width of two positive numbers, such "
                "as [3, 4]"
            )
    sides = {_sides_near(height / width, steps) for height, width in ratios}
    return Shapes(steps, tuple(sorted(sides, key=lambda pair: pair[0] / pair[1])))


def _sides_near(ratio: float, steps: int) -> Size:
    area = steps**2
    lowest, highest = (math.sqrt(share * area * ratio) for share in (3 / 4, 5 / 4))
    heights = np.arange(math.floor(lowest) - 1, math.ceil(highest) + 2).clip(1, 5 * area // 4)
    least, most = np.ceil(3 * area / 4 / heights), np.floor(5 * area / 4 / heights)
    both = [np.clip(rounded(heights / ratio), least, most) for rounded in (np.floor, np.ceil)]
    candidates = np.stack([np.tile(heights, 2), np.concatenate(both)], axis=1)
    candidates = candidates[np.tile(least <= most, 2)]
    # Rounded, so that 3:4 and 4:3 are decided alike.
    off = np.abs(_log_ratio(candidates) - math.log(ratio)).round(9)
    larger = np.abs(np.log(candidates.prod(axis=1) / area)).round(9)
    height, width = candidates[np.lexsort((larger, off))[0]]
    return int(height), int(width)


def _log_ratio(sides: np.ndarray) -> Float[np.ndarray, "pictures"]:
    """The logarithm of height / width."""
    return np.log(sides[:, 0] / sides[:, 1])
