"""The same evaluation of several trainings that differ in their seed: what holds beyond one of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from typing import Any

from imagen.errors import UserError
from imagen.evaluation.compare.sides import MUST_AGREE, Side, insist_on_same
from imagen.evaluation.results.equal_alignment import EqualAlignment, at_equal_alignment, compared_pairs
from imagen.evaluation.statistics.jackknife import LEVEL, Interval

OF_THE_WEIGHTS = ("stage_sha256", "weights_sha256", "weaker", "sha256")
"""What says which weights a curve samples, of the stage and of the weaker one that autoguidance takes."""

Key = tuple[str, str, str, float]
"""(alignment, metric, curve, weight of the base curve)."""


@dataclass(frozen=True)
class AcrossTrainings:
    """A curve at the alignment of the base curve at one weight, in each training.

    Args:
        alignment: key of the metric that is made equal.
        metric: key of the number that is compared.
        base: label of the curve that is compared with.
        base_weight: guidance weight of its point.
        curve: label of the other curve.
        each: by training, in order.
        mean: of the differences, with Student's t over the trainings, which carries both their variation and that of
            sampling; None unless the curve gets to that alignment in every one.
    """

    alignment: str
    metric: str
    base: str
    base_weight: float
    curve: str
    each: Sequence[EqualAlignment]
    mean: Interval | None


def across_trainings(sides: Sequence[Side]) -> list[AcrossTrainings]:
    """Every comparison at equal alignment that all of `sides` have, in the order of the first.

    Raises:
        UserError: for trainings that were measured or sampled in different ways (names the fact), for one that is given
            twice, and for some that have nothing to compare.
    """
    first = sides[0]
    for side in sides[1:]:
        for fact in MUST_AGREE:
            insist_on_same("trainings", fact, first, side, first.results.get(fact), side.results.get(fact))
        insist_on_same("trainings", "curves", first, side, *(_without_weights(one.results) for one in (first, side)))
    for one, other in combinations(sides, 2):
        if _weights(one) == _weights(other):
            raise UserError(f"trainings: {one.name} and {other.name} are of the same weights; leave one of them out")
    found = [_by_key(side) for side in sides]
    shared = [key for key in found[0] if all(key in one for one in found)]
    if not shared:
        raise UserError(
            f"trainings: {sides[0].name} and the others have no two curves with intervals in common: evaluate each "
            "with the same curves, such as guidance=rules, and with enough pictures (pictures_for_interval in "
            "results.json)"
        )
    return [_across([one[key] for one in found]) for key in shared]


def _by_key(side: Side) -> Mapping[Key, EqualAlignment]:
    points = [(cell.curve, cell.guidance_weight, found.jackknives) for cell, found in side.cells.items()]
    compared = at_equal_alignment(points, compared_pairs(side.metrics))
    return {(one.alignment, one.metric, one.curve, one.base_weight): one for one in compared}


def _without_weights(results: Mapping[str, Any]) -> Any:
    """How each curve is sampled, but for the weights."""

    def kept(node: Any) -> Any:
        if isinstance(node, Mapping):
            return {key: kept(value) for key, value in node.items() if key not in OF_THE_WEIGHTS}
        return list(map(kept, node)) if isinstance(node, list) else node

    return kept(results.get("curves"))


def _weights(side: Side) -> list[Any]:
    """Which weights each stage of each curve has."""
    curves = side.results.get("curves", {}).values()
    return [stage.get("weights_sha256") for curve in curves for stage in curve.get("stages", [])]


def _across(each: Sequence[EqualAlignment]) -> AcrossTrainings:
    first = each[0]
    differences = [one.difference.estimate for one in each if one.difference is not None]
    mean = interval_of_trainings(differences) if len(differences) == len(each) else None
    return AcrossTrainings(first.alignment, first.metric, first.base, first.base_weight, first.curve, each, mean)


def interval_of_trainings(values: Sequence[float]) -> Interval:
    """The mean of one number for each training, with Student's t. Three trainings have two degrees of freedom: 4.3
    standard errors to each side."""
    from scipy.stats import t

    count, mean = len(values), sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (count - 1)
    margin = float(t.ppf((1 + LEVEL) / 2, count - 1)) * sqrt(variance / count)
    return Interval(mean, mean - margin, mean + margin, "trainings")
