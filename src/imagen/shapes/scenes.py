"""Scenes: a description and the places of its objects, drawn at random from (seed, index, split)."""

from dataclasses import dataclass
from functools import singledispatch

import numpy as np

from imagen.randomness import derive_seed
from imagen.shapes.captions import caption
from imagen.shapes.descriptions import Counting, Description, Look, Pair, Position, Single
from imagen.shapes.splits import as_split, descriptions_of_kind
from imagen.shapes.vocabulary import BACKGROUND_RGB, COLOUR_RGB, Colour, Rgb, Shape, Size

KIND_PROPORTIONS: dict[str, float] = {Single.kind: 0.25, Counting.kind: 0.15, Pair.kind: 0.15, Position.kind: 0.45}

# Lengths in units of the canvas, which is [0, 1] x [0, 1] with y downwards.
SIZE_RADIUS: dict[Size | None, tuple[float, float]] = {
    Size.SMALL: (0.14, 0.18),
    Size.LARGE: (0.30, 0.38),
    None: (0.18, 0.34),
}
COUNTING_RADIUS = (0.14, 0.18)
PAIR_RADIUS = (0.15, 0.20)
MARGIN = 0.02  # between an object and the border of the canvas
GAP = 0.04  # between the bounding boxes of two objects
POSITION_DISTANCE = 2 * PAIR_RADIUS[1] + GAP  # smallest distance along the axis of the relation
POSITION_JITTER = 0.12  # largest offset across that axis
COLOUR_JITTER = 8  # sRGB levels per channel, for objects and backgrounds

Place = tuple[float, float, float]
"""Centre x, centre y, radius."""


@dataclass(frozen=True)
class ShapeObject:
    """One object to draw. `x`, `y`: the centre of its bounding box; `radius`: see `drawing`."""

    shape: Shape
    colour: Colour
    x: float
    y: float
    radius: float
    rgb: Rgb

    @property
    def look(self) -> Look:
        return Look(self.colour, self.shape)


@dataclass(frozen=True)
class Scene:
    """Everything to draw: a description, one object for each of its looks in order, and the background's colour."""

    description: Description
    objects: tuple[ShapeObject, ...]
    background_rgb: Rgb

    @property
    def caption(self) -> str:
        return caption(self.description)


def sample_scene(seed: int, index: int, split: str) -> Scene:
    """Scene number `index` of a split: a function of (seed, index, split) alone.

    The kind is drawn with the probabilities `KIND_PROPORTIONS`, then a description uniformly from those of that kind in
    the split.
    Raises UserError for an unknown split.
    """
    split = as_split(split)
    rng = np.random.default_rng(derive_seed("shapes-scene", seed, index, split.value))
    candidates = descriptions_of_kind(split, _draw_kind(rng))
    return arrange(candidates[int(rng.random() * len(candidates))], rng)


def arrange(description: Description, rng: np.random.Generator) -> Scene:
    """A random scene of the description: no two objects overlap, and all lie inside the canvas."""
    looks = description.looks
    names = [COLOUR_RGB[look.colour] for look in looks] + [BACKGROUND_RGB[description.background]]
    *colours, background = _jittered(names, rng)
    objects = tuple(
        ShapeObject(look.shape, look.colour, x, y, radius, rgb)
        for look, (x, y, radius), rgb in zip(looks, place(description, rng), colours, strict=True)
    )
    return Scene(description, objects, background)


@singledispatch
def place(description: Description, rng: np.random.Generator) -> tuple[Place, ...]:
    """Places for the objects of a description, one for each of its looks."""
    raise AssertionError(f"no layout for {type(description).__name__}")


@place.register
def _(description: Single, rng: np.random.Generator) -> tuple[Place, ...]:
    radius = _between(SIZE_RADIUS[description.size], rng)
    return (_anywhere(radius, rng),)


@place.register
def _(description: Counting, rng: np.random.Generator) -> tuple[Place, ...]:
    # Cells of a 2 x 2 grid, so that the number is right at a glance and at 16 pixels.
    radius = _between(COUNTING_RADIUS, rng)
    slack = 0.25 - radius - max(MARGIN, GAP / 2)
    offsets = (2 * rng.random((description.number, 2)) - 1) * slack
    cells = rng.permutation(4)[: description.number]
    return tuple(
        (0.25 + 0.5 * (cell % 2) + x, 0.25 + 0.5 * (cell // 2) + y, radius)
        for cell, (x, y) in zip(cells.tolist(), offsets.tolist(), strict=True)
    )


@place.register
def _(description: Pair, rng: np.random.Generator) -> tuple[Place, ...]:
    first, second = _between(PAIR_RADIUS, rng), _between(PAIR_RADIUS, rng)
    while True:  # about four attempts
        a, b = _anywhere(first, rng), _anywhere(second, rng)
        if max(abs(a[0] - b[0]), abs(a[1] - b[1])) >= first + second + GAP:
            return a, b


@place.register
def _(description: Position, rng: np.random.Generator) -> tuple[Place, ...]:
    radii = (_between(PAIR_RADIUS, rng), _between(PAIR_RADIUS, rng))
    # Along the axis: the object with the smaller coordinate first. The free length is split at random into three gaps.
    low, high = radii if description.relation.sign < 0 else radii[::-1]
    start, end = low + MARGIN, 1 - MARGIN - high
    distance = _between((POSITION_DISTANCE, end - start), rng)
    low_at = _between((start, end - distance), rng)
    # Across it: a common centre, and half the difference to either side.
    difference = POSITION_JITTER * (rng.random() - 0.5)
    edge = max(radii) + MARGIN + abs(difference)
    middle = _between((edge, 1 - edge), rng)
    places = (
        (low_at, middle - difference, low),
        (low_at + distance, middle + difference, high),
    )
    if description.relation.axis == 1:
        places = tuple((across, along, radius) for along, across, radius in places)
    return places if description.relation.sign < 0 else places[::-1]


def _draw_kind(rng: np.random.Generator) -> str:
    draw = rng.random()
    for kind, proportion in KIND_PROPORTIONS.items():
        draw -= proportion
        if draw < 0:
            return kind
    return kind


def _between(bounds: tuple[float, float], rng: np.random.Generator) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * rng.random()


def _anywhere(radius: float, rng: np.random.Generator) -> Place:
    bounds = (radius + MARGIN, 1 - radius - MARGIN)
    return _between(bounds, rng), _between(bounds, rng), radius


def _jittered(colours: list[Rgb], rng: np.random.Generator) -> list[Rgb]:
    """Each colour with every channel shifted at random by up to `COLOUR_JITTER` levels."""
    shifts = iter(rng.integers(-COLOUR_JITTER, COLOUR_JITTER + 1, 3 * len(colours)).tolist())
    return [(red + next(shifts), green + next(shifts), blue + next(shifts)) for red, green, blue in colours]
