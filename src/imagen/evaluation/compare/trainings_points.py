"""The points of the same evaluation over several trainings, and how each curve differs from the first one there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from imagen.evaluation.compare.sides import Side
from imagen.evaluation.compare.trainings import interval_of_trainings
from imagen.evaluation.judges.metric import (
    CHECKED_ALL,
    DIVERSITY,
    FITTING,
    FRECHET,
    RECALL,
    SOFT_TIFA_AM,
    SOFT_TIFA_GM,
    Metric,
)
from imagen.evaluation.report.tables import Rows, change_text
from imagen.evaluation.results.results import CellResult
from imagen.evaluation.statistics.jackknife import Interval
from imagen.evaluation.sweep.plan import Cell

SHOWN = (FRECHET, *FITTING, SOFT_TIFA_AM, SOFT_TIFA_GM, RECALL, DIVERSITY)
"""Axes of the judges' metrics, beside the checker's total and its categories."""


@dataclass(frozen=True)
class Point:
    """A number at one weight of a curve.

    Args:
        curve: its label.
        weight: the guidance weight.
        metric: key of the number.
        each: by training, in order.
        mean: over the trainings, with Student's t.
        difference: the same of the number minus that of the first curve at the same weight, training by training; None
            where that is the same point, or there is none.
    """

    curve: str
    weight: float
    metric: str
    each: Sequence[float]
    mean: Interval
    difference: Interval | None


def points_of(sides: Sequence[Side]) -> list[Point]:
    """Every shown number that all of `sides` have, metric by metric, in the order of the first."""
    trainings = [side.cells for side in sides]
    cells = list(trainings[0])
    base = cells[0].curve
    found = []
    for metric in _shown(sides[0]):
        for cell in cells:
            each = _numbers(trainings, cell, metric)
            if each is None:
                continue
            same = None if cell.curve == base else _numbers(trainings, Cell(base, cell.guidance_weight), metric)
            change = None if same is None else [one - other for one, other in zip(each, same, strict=True)]
            difference = None if change is None else interval_of_trainings(change)
            found.append(Point(cell.curve, cell.guidance_weight, metric, each, interval_of_trainings(each), difference))
    return found


def point_table(points: Sequence[Point]) -> Rows:
    """Of one metric: two rows for each curve, the mean and the difference from the first curve; weights across."""
    weights = sorted({one.weight for one in points})
    base = points[0].curve
    rows = [["", *(f"w = {weight:g}" for weight in weights)]]
    for curve in dict.fromkeys(one.curve for one in points):
        by_weight = {one.weight: one for one in points if one.curve == curve}
        found = [by_weight.get(weight) for weight in weights]
        rows.append([curve, *("" if one is None else _mean_text(one.mean) for one in found)])
        if any(one is not None and one.difference is not None for one in found):
            changes = ["" if one is None or one.difference is None else change_text(one.difference) for one in found]
            rows.append([f"minus {base}", *changes])
    return rows


def _shown(side: Side) -> list[str]:
    """The checker's total, its categories, and the judges' metrics of `SHOWN`."""
    metrics: Mapping[str, Metric] = side.metrics
    checked = [key for key in (CHECKED_ALL, *side.results.get("categories", [])) if key in metrics]
    return checked + [key for axis in SHOWN for key, metric in metrics.items() if metric.axis == axis]


def _numbers(trainings: Sequence[Mapping[Cell, CellResult]], cell: Cell, metric: str) -> list[float] | None:
    """The number of each training; None unless all have it."""
    values = [cells[cell].metrics.get(metric) for cells in trainings if cell in cells]
    known = [value for value in values if value is not None]
    return known if len(known) == len(trainings) else None


def _mean_text(mean: Interval) -> str:
    return f"{mean.estimate:.3g} [{mean.low:.3g}, {mean.high:.3g}]"
