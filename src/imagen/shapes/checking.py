"""Which parts of a caption hold in a picture, and GenEval's categories."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from itertools import permutations
from typing import TypeGuard

import numpy as np
from jaxtyping import UInt8

from imagen.shapes.descriptions import Counting, Description, Look, Pair, Position, Single
from imagen.shapes.observation import Observation, SeenObject, observe
from imagen.shapes.vocabulary import Relation, Size

# Radii of small objects are 0.14 to 0.18, of large ones 0.30 to 0.38; a radius in between is neither.
SMALL_BELOW = 0.22
LARGE_ABOVE = 0.26
MIN_RELATION_DISTANCE = 0.25

Match = tuple[SeenObject | None, ...]
"""The seen object matched to each look of a description; None if there are too few objects."""


@dataclass(frozen=True)
class Verdict:
    """Which parts of a description hold in a picture; `kind` is the kind of the description.

    `parts`: "background", "objects" (their number), "colours", "shapes", and, when the description states them, "size"
    and "relation". `abstained`: the parts that failed because something was not recognised.
    """

    kind: str
    parts: dict[str, bool]
    abstained: tuple[str, ...]

    @property
    def all_correct(self) -> bool:
        return all(self.parts.values())


@dataclass(frozen=True)
class Category:
    """A category of GenEval: the kinds of description that it applies to, and the parts that must all hold."""

    name: str
    kinds: tuple[str, ...]
    parts: tuple[str, ...]

    def applies_to(self, kind: str) -> bool:
        return kind in self.kinds


CATEGORIES: tuple[Category, ...] = (
    Category("single_object", (Single.kind,), ("objects", "shapes")),
    Category("two_objects", (Pair.kind,), ("objects", "shapes")),
    Category("counting", (Counting.kind,), ("objects", "shapes")),
    Category("colours", (Single.kind,), ("shapes", "colours")),
    Category("position", (Position.kind,), ("shapes", "relation")),
    Category("colour_attribution", (Pair.kind, Position.kind), ("shapes", "colours")),
)


def categories(verdict: Verdict) -> dict[str, bool]:
    """The result of a verdict in every category that applies to its kind of description."""
    return {
        category.name: all(verdict.parts[part] for part in category.parts)
        for category in CATEGORIES
        if category.applies_to(verdict.kind)
    }


def check(image: UInt8[np.ndarray, "height width 3"], description: Description) -> Verdict:
    """Which parts of the description hold in a square sRGB picture. Uses nothing but the picture.

    Raises UserError if the picture is not square.
    """
    return judge(observe(image), description)


def judge(seen: Observation, description: Description) -> Verdict:
    """`check` on an observation.

    Objects are matched to looks so that as many shapes as possible agree, then colours, then the relation. So swapped
    colours are an error of colours, not of shapes.
    """
    looks = description.looks
    match = max(_matches(seen.objects, len(looks)), key=lambda match: _agreement(match, looks, description))
    parts = {
        "background": seen.background == description.background,
        "objects": len(seen.objects) == len(looks),
        "colours": _right_colours(match, looks) == len(looks),
        "shapes": _right_shapes(match, looks) == len(looks),
        **_stated(description, match),
    }
    unrecognised = {
        "background": seen.background is None,
        "colours": any(item.colour is None for item in seen.objects),
        "shapes": any(item.shape is None for item in seen.objects),
    }
    abstained = tuple(part for part, failed in unrecognised.items() if failed and not parts[part])
    return Verdict(description.kind, parts, abstained)


def _matches(objects: Sequence[SeenObject], count: int) -> list[Match]:
    if len(objects) > count + 1:  # the number is wrong in any case; keeps the search short
        objects = objects[: count + 1]
    missing = (None,) * max(count - len(objects), 0)
    return list(permutations((*objects, *missing), count))


def _agreement(match: Match, looks: tuple[Look, ...], description: Description) -> tuple[int, int, int]:
    return _right_shapes(match, looks), _right_colours(match, looks), sum(_stated(description, match).values())


def _right_shapes(match: Match, looks: tuple[Look, ...]) -> int:
    return sum(item is not None and item.shape == look.shape for item, look in zip(match, looks, strict=True))


def _right_colours(match: Match, looks: tuple[Look, ...]) -> int:
    return sum(item is not None and item.colour == look.colour for item, look in zip(match, looks, strict=True))


@singledispatch
def _stated(description: Description, match: Match) -> dict[str, bool]:
    """The parts that only some descriptions state."""
    return {}


@_stated.register
def _(description: Single, match: Match) -> dict[str, bool]:
    if description.size is None:
        return {}
    (item,), (look,) = match, description.looks
    return {"size": _is_identified(item, look) and _has_size(item.radius, description.size)}


@_stated.register
def _(description: Position, match: Match) -> dict[str, bool]:
    first, second = match
    if _is_identified(first, description.first) and _is_identified(second, description.second):
        return {"relation": _stands(first, description.relation, second)}
    return {"relation": False}


def _is_identified(item: SeenObject | None, look: Look) -> TypeGuard[SeenObject]:
    """Whether the object's shape or colour agrees with the look. Otherwise noise could count as rightly placed."""
    return item is not None and (item.shape == look.shape or item.colour == look.colour)


def _has_size(radius: float, size: Size) -> bool:
    return radius < SMALL_BELOW if size is Size.SMALL else radius > LARGE_ABOVE


def _stands(first: SeenObject, relation: Relation, second: SeenObject) -> bool:
    """Whether the relation clearly holds: the objects are far apart along its axis, and farther than across it."""
    offset = (first.x - second.x, first.y - second.y)
    along, across = offset[relation.axis] * relation.sign, abs(offset[1 - relation.axis])
    return along >= MIN_RELATION_DISTANCE and along > across
