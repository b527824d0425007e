"""The outlines of a scene: a line drawing, which tells shapes, sizes and places and no colours."""

from functools import reduce

import numpy as np
from jaxtyping import UInt8

from imagen.shapes.drawing import Coverage, check_resolution, coverage
from imagen.shapes.scenes import Scene

LINE_WIDTH = 1 / 32
"""Of the side of the picture."""

FINE = 128
"""Fewest pixels per side at which lines are drawn before they are averaged over the pixels of the picture."""


def outline(scene: Scene, resolution: int) -> UInt8[np.ndarray, "height width 3"]:
    """The edges of all objects of a scene in black on white, sRGB, `resolution` pixels per side.

    Raises UserError if `resolution` is not in 8..2048.
    """
    check_resolution(resolution)
    factor = -(-FINE // resolution)
    covered = _covered(scene, resolution * factor)
    reach = max(1, round(resolution * factor * LINE_WIDTH / 2))
    line = _spread(covered, reach) + _spread(1 - covered, reach) - 1
    averaged = line.reshape(resolution, factor, resolution, factor).mean(axis=(1, 3))
    grey = (255 * (1 - averaged) + 0.5).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _covered(scene: Scene, size: int) -> Coverage:
    """The fraction of each pixel that any object covers; objects do not overlap."""
    centres, covered = np.arange(size, dtype=np.float32) + 0.5, np.zeros((size, size), np.float32)
    for item in scene.objects:
        covered += coverage(item.shape, centres - item.x * size, centres - item.y * size, item.radius * size)
    return covered


def _spread(covered: Coverage, reach: int) -> Coverage:
    """The largest value among the pixels at most `reach` away along each axis."""
    size = len(covered)
    padded = np.pad(covered, reach, mode="edge")
    rows = reduce(np.maximum, [padded[shift : shift + size] for shift in range(2 * reach + 1)])
    return reduce(np.maximum, [rows[:, shift : shift + size] for shift in range(2 * reach + 1)])
