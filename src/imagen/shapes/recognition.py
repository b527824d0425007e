"""Names a colour by the nearest palette word and a shape by the best fit; None rather than a guess."""

from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from imagen.shapes.drawing import coverage
from imagen.shapes.vocabulary import Rgb, Shape

# Half the distance between the two nearest colours of the palette is about 52, between backgrounds 100.
COLOUR_TOLERANCE = 50.0
# Drawn shapes overlap their template by at least 0.97, and by 0.86 after a blur of 1.2 pixels. A square overlaps the
# disc of equal area by 0.83, as do a diamond and a 4:3 ellipse. The next best shape is 0.14 behind, 0.07 when blurred.
MIN_OVERLAP = 0.84
MIN_OVERLAP_MARGIN = 0.05
NOISE_FLOOR = 0.1  # of cover
CONTRAST = 2.0  # so that covers below 1/4 are outside, above 3/4 inside

Word = TypeVar("Word", bound=Enum)


@dataclass(frozen=True)
class Fit:
    """The best shape for a patch (None if none fits or two fit alike), its centre and radius in pixels of the patch."""

    shape: Shape | None
    x: float
    y: float
    radius: float
    overlap: float


@dataclass(frozen=True)
class _Moments:
    """Area of a shape of radius 1, and how far its centroid lies below the centre of its bounding box."""

    area: float
    centroid_y: float


def nearest_word(rgb: Float[np.ndarray, "3"], palette: dict[Word, Rgb]) -> Word | None:
    """The word whose colour is nearest to `rgb` (sRGB, 0..255), None if it is farther than `COLOUR_TOLERANCE`."""
    words = list(palette)
    distances = np.linalg.norm(np.array([palette[word] for word in words], dtype=np.float32) - rgb, axis=1)
    nearest = int(distances.argmin())
    return words[nearest] if distances[nearest] <= COLOUR_TOLERANCE else None


def fit_shape(cover: Float[np.ndarray, "height width"]) -> Fit:
    """The shape that best fits a patch in which one object covers `cover` (0..1) of each pixel.

    Each shape is drawn with the patch's area and centroid, which blur does not move, and compared by intersection over
    union, both with more contrast. The best shape has no name unless its overlap is at least `MIN_OVERLAP`, and
    `MIN_OVERLAP_MARGIN` more than the second best.
    """
    cover = np.where(cover < NOISE_FLOOR, 0, cover)
    height, width = cover.shape
    across = np.arange(width, dtype=np.float32) + 0.5
    down = np.arange(height, dtype=np.float32) + 0.5
    area = max(float(cover.sum()), 1e-6)
    x, y = float(cover.sum(0) @ across) / area, float(cover.sum(1) @ down) / area
    cover = _sharpen(cover)
    overlaps, fits = [], []
    for shape in Shape:
        moments = _moments_of(shape)
        radius = (area / moments.area) ** 0.5
        centre_y = y - moments.centroid_y * radius
        template = _sharpen(coverage(shape, across - np.float32(x), down - np.float32(centre_y), radius))
        shared = float(np.minimum(cover, template).sum())
        overlaps.append(shared / max(float(cover.sum()) + float(template.sum()) - shared, 1e-6))
        fits.append((shape, x, centre_y, radius))
    second, best = np.argsort(overlaps)[-2:]
    shape, x, centre_y, radius = fits[best]
    certain = overlaps[best] >= MIN_OVERLAP and overlaps[best] - overlaps[second] >= MIN_OVERLAP_MARGIN
    return Fit(shape if certain else None, x, centre_y, radius, overlaps[best])


def _sharpen(cover: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    return np.clip((cover - 0.5) * CONTRAST + 0.5, 0, 1)


@cache
def _moments_of(shape: Shape, resolution: int = 128) -> _Moments:
    """Measured on a drawing, so that the formulas of the shapes stay in one place."""
    axis = np.linspace(-1.05, 1.05, resolution, dtype=np.float32) * resolution
    cover = coverage(shape, axis, axis, float(resolution))
    step = 2.1 / (resolution - 1)
    area = float(cover.sum()) * step**2
    return _Moments(area, float(cover.sum(1) @ axis) / resolution * step**2 / area)
