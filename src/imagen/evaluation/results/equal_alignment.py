"""The curves of an evaluation compared where they have the same alignment, not where they have the same weight."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from imagen.evaluation.judges.metric import CHECKED_ALL, FRECHET, Metric, pareto_pairs
from imagen.evaluation.statistics.equal_alignment import Point, crossing, rising
from imagen.evaluation.statistics.jackknife import Interval, Jackknife

Cells = Sequence[tuple[str, float, Mapping[str, Jackknife]]]
"""(curve, guidance weight, jackknives by metric) of each cell."""


@dataclass(frozen=True)
class EqualAlignment:
    """A curve where it has the alignment of another one.

    Args:
        alignment: key of the metric that is made equal.
        metric: key of the number that is compared.
        base: label of the curve that is compared with.
        base_weight: guidance weight of the point of `base` whose alignment is taken.
        at: that alignment.
        curve: label of the other curve.
        weight: its guidance weight at that alignment, interpolated; None if it never gets there.
        difference: its `metric` there minus that of `base`, paired; None if it never gets there, or is too flat to say.
    """

    alignment: str
    metric: str
    base: str
    base_weight: float
    at: float
    curve: str
    weight: float | None
    difference: Interval | None


def compared_pairs(metrics: Mapping[str, Metric]) -> list[tuple[str, str]]:
    """(alignment, number) of each comparison: each judge's own pair, then each distance where equally many pictures
    are right in every part."""
    pairs = pareto_pairs(metrics.values())
    distances = [metric.key for metric in metrics.values() if metric.axis == FRECHET]
    return pairs + [(CHECKED_ALL, distance) for distance in distances if CHECKED_ALL in metrics]


def at_equal_alignment(cells: Cells, pairs: Sequence[tuple[str, str]]) -> list[EqualAlignment]:
    """Every other curve against the first one, at the alignment of each of its points up to the highest.

    The first point is left out: rules that are all off at a weight of 1 are one and the same there. Pairs of numbers
    without jackknives, as with few pictures, are left out too.
    """
    labels = list(dict.fromkeys(curve for curve, _, _ in cells))
    found = []
    for alignment, metric in pairs:
        curves = {label: _points(cells, label, alignment, metric) for label in labels}
        curves = {label: points for label, points in curves.items() if len(points) > 1}
        if labels[0] not in curves:
            continue
        base = rising(curves.pop(labels[0]))
        for point in base[1:]:
            for label, points in curves.items():
                there = crossing(points, point.alignment)
                number = there and there.number
                found.append(
                    EqualAlignment(
                        alignment, metric, labels[0], point.weight, point.alignment.value, label,
                        there and there.weight, number and (number - point.number).interval,
                    )
                )  # fmt: skip
    return found


def _points(cells: Cells, label: str, alignment: str, metric: str) -> list[Point]:
    """The points of a curve that have both numbers, by ascending weight."""
    points = [
        Point(weight, jackknives[alignment], jackknives[metric])
        for curve, weight, jackknives in cells
        if curve == label and {alignment, metric} <= jackknives.keys()
    ]
    return sorted(points, key=lambda point: point.weight)
