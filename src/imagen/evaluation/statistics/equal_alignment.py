"""Numbers of a curve at an alignment that none of its points has, with intervals that carry the interpolation.

Guidance rules must not be compared at equal weights: the same weight is a strong one for one rule and a weak one for
another. So a number is read off each curve where the curve has a given alignment, on the line between the two
neighbouring points. The segment is chosen once, from all pictures; within it everything is computed again without each
group of pictures, the alignment too. Differences of two curves are paired as they are elsewhere.

Along a segment whose rise in alignment might be zero, no place on it has an interval: the ratio of two such numbers may
be anything (Fieller 1954). So points count only where the alignment is separated from that of the one before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from imagen.evaluation.statistics.jackknife import Jackknife


@dataclass(frozen=True)
class Point:
    """One point of a curve: its guidance weight, its alignment and another number of the same pictures."""

    weight: float
    alignment: Jackknife
    number: Jackknife


@dataclass(frozen=True)
class Crossing:
    """Where a curve has a given alignment: the guidance weight there, interpolated, and the number; None where the
    curve is too flat to say."""

    weight: float
    number: Jackknife | None


def crossing(points: Sequence[Point], alignment: Jackknife) -> Crossing | None:
    """Where the curve through `points` first reaches `alignment`, coming from its lowest weight; None if it never does.

    Args:
        points: by ascending weight, all over the same pictures as `alignment`.
        alignment: of another curve. It may vary with the pictures, which then is part of the interval.

    Raises:
        UserError: unless all have the same groups of pictures.
    """
    for chosen, steep in ((separated(points), True), (points, False)):
        for before, after in pairwise(chosen):
            if before.alignment.value <= alignment.value <= after.alignment.value != before.alignment.value:
                way = (alignment - before.alignment) / (after.alignment - before.alignment)
                weight = before.weight + way.value * (after.weight - before.weight)
                return Crossing(weight, before.number + way * (after.number - before.number) if steep else None)
    return None


def separated(points: Sequence[Point]) -> list[Point]:
    """The first point, and each later one whose alignment is higher than that of the last one taken, as the interval of
    the paired difference says."""
    taken = list(points[:1])
    for point in points[1:]:
        if (point.alignment - taken[-1].alignment).interval.low > 0:
            taken.append(point)
    return taken


def rising(points: Sequence[Point]) -> list[Point]:
    """The points up to the one of the highest alignment."""
    best = max(range(len(points)), key=lambda i: points[i].alignment.value)
    return list(points[: best + 1])
