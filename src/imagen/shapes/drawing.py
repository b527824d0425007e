"""Scenes to pixels, anti-aliased: each pixel is blended by the fraction of it that a shape covers.

Every shape is drawn around the centre of its bounding box and extends at most `radius` from it on either axis.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8

from imagen.errors import UserError
from imagen.shapes.scenes import Scene, ShapeObject
from imagen.shapes.vocabulary import Shape

RESOLUTIONS = range(8, 2049)

Coverage = Float[np.ndarray, "height width"]
"""The fraction of each pixel that a shape covers, in [0, 1]."""

# In units of the radius.
SQUARE_HALF_SIDE = 0.88
TRIANGLE_HALF_SIDE = 0.98
TRIANGLE_HALF_HEIGHT = TRIANGLE_HALF_SIDE * 3**0.5 / 2  # equilateral
CROSS_HALF_LENGTH = 0.98
CROSS_HALF_WIDTH = 0.32
RING_INNER = 0.5


def draw(scene: Scene, resolution: int) -> UInt8[np.ndarray, "height width 3"]:
    """The picture of a scene, sRGB, `resolution` pixels per side.

    Raises UserError if `resolution` is not in 8..2048.
    """
    check_resolution(resolution)
    canvas = np.empty((resolution, resolution, 3), dtype=np.float32)
    canvas[:] = scene.background_rgb
    for item in scene.objects:
        _paint(canvas, item)
    return (canvas + 0.5).astype(np.uint8)


def check_resolution(resolution: int) -> None:
    """Raises UserError if a picture of `resolution` pixels per side cannot be drawn."""
    if resolution not in RESOLUTIONS:
        raise UserError(f"resolution {resolution} cannot be drawn; take one of {RESOLUTIONS[0]} to {RESOLUTIONS[-1]}")


def coverage(shape: Shape, x: Float[np.ndarray, " width"], y: Float[np.ndarray, " height"], radius: float) -> Coverage:
    """The fraction of each pixel that a shape centred on the origin covers.

    `x`, `y`: pixel centres; `radius`: of the shape; all in pixels.
    """
    return _COVERAGE[shape](x, y, radius)


def _paint(canvas: Float[np.ndarray, "height width 3"], item: ShapeObject) -> None:
    """Blend one object into the canvas, within its bounding box only."""
    size = canvas.shape[0]
    centre_x, centre_y, radius = item.x * size, item.y * size, item.radius * size
    left, right = max(int(centre_x - radius - 1), 0), min(int(centre_x + radius + 2), size)
    top, bottom = max(int(centre_y - radius - 1), 0), min(int(centre_y + radius + 2), size)
    x = np.arange(left, right, dtype=np.float32) + np.float32(0.5 - centre_x)
    y = np.arange(top, bottom, dtype=np.float32) + np.float32(0.5 - centre_y)
    covered = coverage(item.shape, x, y, radius)[:, :, None]
    window = canvas[top:bottom, left:right]
    window += covered * (np.asarray(item.rgb, dtype=np.float32) - window)


def _disc(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    # The signed distance to the edge, clipped at half a pixel on either side.
    return np.clip(radius + 0.5 - np.sqrt(x * x + (y * y)[:, None]), 0, 1)


def _interval(x: np.ndarray, half: float) -> np.ndarray:
    """The fraction of each unit interval around `x` inside [-half, half]. Exact."""
    return np.clip(np.minimum(x + 0.5, half) - np.maximum(x - 0.5, -half), 0, 1)


def _square(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    half = SQUARE_HALF_SIDE * radius
    return _interval(y, half)[:, None] * _interval(x, half)


def _cross(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    length, width = CROSS_HALF_LENGTH * radius, CROSS_HALF_WIDTH * radius
    long_x, short_x = _interval(x, length), _interval(x, width)
    long_y, short_y = _interval(y, length)[:, None], _interval(y, width)[:, None]
    return short_y * long_x + long_y * short_x - short_y * short_x


def _triangle(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    # Apex up. The normals of its sloping sides are (+-cos 30°, -sin 30°). The areas that both sides cut off a pixel are
    # added, so that the apex, where both cross one pixel, is not too broad.
    half = TRIANGLE_HALF_HEIGHT * radius
    rise = 0.5 * (y + half)[:, None]
    across = (3**0.5 / 2) * x
    right, left = np.clip(0.5 + rise - across, 0, 1), np.clip(0.5 + rise + across, 0, 1)
    return np.maximum(right + left - 1, 0) * _interval_end(y, half)[:, None]


def _interval_end(x: np.ndarray, end: float) -> np.ndarray:
    """The fraction of each unit interval around `x` below `end`. Exact."""
    return np.clip(end - x + 0.5, 0, 1)


def _ring(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    return _disc(x, y, radius) - _disc(x, y, RING_INNER * radius)


_COVERAGE: dict[Shape, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    Shape.CIRCLE: _disc,
    Shape.SQUARE: _square,
    Shape.TRIANGLE: _triangle,
    Shape.CROSS: _cross,
    Shape.RING: _ring,
}
