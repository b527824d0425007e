"""Finds the objects and the background of a picture. Uses neither its scene nor its caption.

1. The background is the median of the border. 2. Every pixel is explained as a mixture of the background and one
palette colour, the one with the smallest residual; it belongs to an object if that colour makes up at least one half.
3. Connected pixels are one object, unless two thick patches of different colours meet in it. 4. Each object is named
(`recognition`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from scipy import ndimage

from imagen.errors import UserError
from imagen.shapes.recognition import fit_shape, nearest_word
from imagen.shapes.vocabulary import BACKGROUND_RGB, COLOUR_RGB, Background, Colour, Shape

WORKING_RESOLUTION = 64
# All at the working resolution, in pixels. The smallest object of the world covers about 180.
MIN_AREA = 16  # smaller patches are specks, not objects
MIN_PATCH_AREA = 24  # of one colour, inside a larger component
GHOST_STRENGTH = 60.0  # sRGB levels from the background: too pale for an object, too strong for background
GHOST_DISTANCE = 3  # from any object, so that its blurred edge is not a ghost
MAX_NAMED = 8  # further objects are counted, not named
BORDER_TOLERANCE = 40.0  # sRGB levels from the median
MIN_FLAT_BORDER = 0.75  # fraction of the border that must be within the tolerance
PADDING = 2

Canvas = Float[np.ndarray, "height width 3"]
Mask = Bool[np.ndarray, "height width"]


@dataclass(frozen=True)
class SeenObject:
    """One object of a picture. `colour`, `shape` None: not recognised. Lengths in units of the canvas."""

    colour: Colour | None
    shape: Shape | None
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Observation:
    """What a picture shows. `background` is None if the border is not flat or has no known colour."""

    background: Background | None
    objects: tuple[SeenObject, ...]


def observe(image: UInt8[np.ndarray, "height width 3"]) -> Observation:
    """The background and the objects of a square sRGB picture of any size, the largest object first.

    Raises UserError if the picture is not square.
    """
    pixels = _at_working_resolution(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])
    ground = np.median(border, axis=0).astype(np.float32)
    flat = float((np.linalg.norm(border - ground, axis=1) <= BORDER_TOLERANCE).mean()) >= MIN_FLAT_BORDER
    background = nearest_word(ground, BACKGROUND_RGB) if flat else None
    difference = pixels - ground
    masks = sorted(_object_masks(difference, ground), key=lambda mask: -int(mask.sum()))
    if image.shape[0] < WORKING_RESOLUTION:
        # Objects are found on the enlarged picture but named on the original, where each pixel's cover is exact.
        difference = image.astype(np.float32) - ground
        sampled = (_sampled(mask, image.shape[0]) for mask in masks)
        masks = [mask for mask in sampled if mask.any()]  # an object smaller than a pixel leaves nothing
    named = [_recognise(difference, ground, mask, masks) for mask in masks[:MAX_NAMED]]
    return Observation(background, (*named, *(_unnamed(mask) for mask in masks[MAX_NAMED:])))


def _at_working_resolution(image: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "64 64 3"]:
    height, width, _ = image.shape
    if height != width:
        raise UserError(f"picture of {width} x {height} pixels cannot be checked; crop it to a square")
    if width != WORKING_RESOLUTION:
        method = Image.Resampling.BOX if width > WORKING_RESOLUTION else Image.Resampling.BICUBIC
        size = (WORKING_RESOLUTION, WORKING_RESOLUTION)
        image = np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size, method))
    return image.astype(np.float32)


def _sampled(mask: Mask, resolution: int) -> Bool[np.ndarray, "{resolution} {resolution}"]:
    """The mask on a coarser grid, sampled at the middle of each cell."""
    middles = ((np.arange(resolution) + 0.5) * (mask.shape[0] / resolution)).astype(int)
    return mask[np.ix_(middles, middles)]


def _object_masks(difference: Canvas, ground: Float[np.ndarray, "3"]) -> list[Mask]:
    """One mask for each object."""
    foreground, words = _explain(difference, ground)
    components, count = _components(foreground)
    areas = np.bincount(components.ravel(), minlength=count + 1)
    large = [index for index in range(1, count + 1) if areas[index] >= MIN_AREA]
    masks = [part for index in large for part in _split_by_colour(components == index, words)]
    return masks + _ghosts(difference, foreground)


def _components(mask: Any) -> tuple[Int[np.ndarray, "height width"], int]:
    """The connected components, numbered from 1 (0 is none of them), and how many there are."""
    labelled: Any = ndimage.label(mask)  # SciPy has no annotations: it returns a number where an output is given
    return labelled


def _ghosts(difference: Canvas, foreground: Mask) -> list[Mask]:
    """Visible patches of no known colour. They count as objects; otherwise a faint extra object would be missed."""
    visible = np.einsum("ijk,ijk->ij", difference, difference) > GHOST_STRENGTH**2
    visible &= ~np.asarray(ndimage.binary_dilation(foreground, iterations=GHOST_DISTANCE), dtype=bool)
    if visible.sum() < MIN_AREA:
        return []
    labels, count = _components(ndimage.binary_opening(visible, np.ones((3, 3))))
    masks = [labels == index for index in range(1, count + 1)]
    return [mask for mask in masks if mask.sum() >= MIN_AREA]


def _explain(difference: Canvas, ground: Float[np.ndarray, "3"]) -> tuple[Mask, Int[np.ndarray, "height width"]]:
    """Where there is an object rather than background, and for each pixel the index of its colour word."""
    directions = np.array(list(COLOUR_RGB.values()), dtype=np.float32) - ground
    lengths = np.maximum(np.linalg.norm(directions, axis=1), 1.0)
    flat = difference.reshape(-1, 3)
    part = np.clip(flat @ (directions / lengths[:, None] ** 2).T, 0, 1)
    strength = (flat**2).sum(1, keepdims=True)
    # |d - part * direction|^2, expanded.
    unexplained = strength - 2 * part * (flat @ directions.T) + (part * lengths) ** 2
    height, width, _ = difference.shape
    # Neighbours vote on a pixel's colour, which removes noise. Background pixels fit every colour and do not vote.
    size: Any = (3, 3, 1)
    votes = ndimage.uniform_filter(unexplained.reshape(height, width, -1), size, mode="nearest")
    words = votes.argmin(axis=2)
    foreground = strength.reshape(height, width) > (0.5 * lengths[words]) ** 2
    return foreground, words


def _split_by_colour(component: Mask, words: Int[np.ndarray, "height width"]) -> Iterator[Mask]:
    """One mask for each object in a connected component: several when thick patches of different colours touch."""
    areas = np.bincount(words[component], minlength=len(COLOUR_RGB))
    patches = []
    if np.sort(areas)[-2] >= MIN_PATCH_AREA:
        for word in np.flatnonzero(areas >= MIN_PATCH_AREA):
            # Opening removes the thin seam of mixed colours between two objects.
            opened = ndimage.binary_opening(component & (words == word), np.ones((3, 3)))
            labels, count = _components(opened)
            patches += [labels == index for index in range(1, count + 1)]
    patches = [patch for patch in patches if patch.sum() >= MIN_PATCH_AREA]
    if len(patches) < 2:
        yield component
        return
    distances = np.stack([np.asarray(ndimage.distance_transform_edt(~patch)) for patch in patches])
    nearest = distances.argmin(axis=0)
    for index in range(len(patches)):
        yield component & (nearest == index)


def _recognise(difference: Canvas, ground: Float[np.ndarray, "3"], mask: Mask, masks: list[Mask]) -> SeenObject:
    window = _window(mask)
    top, left = window[0].start, window[1].start
    neighbours = np.zeros(mask[window].shape, dtype=bool)
    for other in masks:
        if other is not mask:
            neighbours |= other[window]
    patch = difference[window]
    colour = _core_colour(patch, mask[window])
    cover = np.clip(patch @ (colour / max(float(colour @ colour), 1.0)), 0, 1)
    cover[neighbours] = 0
    fit = fit_shape(cover)
    size = float(mask.shape[0])
    return SeenObject(
        nearest_word(colour + ground, COLOUR_RGB),
        fit.shape,
        (left + fit.x) / size,
        (top + fit.y) / size,
        fit.radius / size,
    )


def _core_colour(patch: Canvas, mask: Mask) -> Float[np.ndarray, "3"]:
    """The object's colour minus the background's, from the pixels that it covers most."""
    inner = np.asarray(ndimage.binary_erosion(mask), dtype=bool)
    inside = patch[inner if inner.sum() >= MIN_AREA else mask]
    strength = (inside**2).sum(1)
    return np.median(inside[strength >= np.quantile(strength, 0.75)], axis=0)


def _window(mask: Mask) -> tuple[slice, slice]:
    """The bounding box of the mask plus a margin, inside the canvas."""
    top, bottom = np.flatnonzero(mask.any(1))[[0, -1]].tolist()
    left, right = np.flatnonzero(mask.any(0))[[0, -1]].tolist()
    height, width = mask.shape
    return (
        slice(max(top - PADDING, 0), min(bottom + PADDING + 1, height)),
        slice(max(left - PADDING, 0), min(right + PADDING + 1, width)),
    )


def _unnamed(mask: Mask) -> SeenObject:
    rows, columns = np.nonzero(mask)
    x, y, radius = float(columns.mean()) + 0.5, float(rows.mean()) + 0.5, (len(rows) / np.pi) ** 0.5
    size = mask.shape[0]
    return SeenObject(None, None, x / size, y / size, radius / size)
