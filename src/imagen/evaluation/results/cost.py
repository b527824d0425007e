"""What the pictures of a cell cost: seconds, which are measured, and network passes, which are known."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from statistics import median

from imagen.evaluation.sweep.plan import Cell, Plan
from imagen.evaluation.sweep.timing import DIGITS, Timing

NOTICEABLE = 1.25
"""Curves whose costs differ by a smaller factor do not differ: a busy machine alone does that."""


@dataclass(frozen=True)
class Cost:
    """`seconds` of sampling for one picture, the median over all that were timed, so that a machine that was busy for a
    while does little harm; None if none was. `passes`: network passes for one picture by stage, None where they are not
    known. `sampled_on`: (device, threads) of all that were timed."""

    seconds: float | None = None
    passes: Mapping[str, int | None] = field(default_factory=dict)
    sampled_on: Sequence[tuple[str | None, int]] = ()

    @classmethod
    def of(cls, plan: Plan, cell: Cell, timings: Sequence[Timing | None]) -> "Cost":
        known = [one for one in timings if one is not None]
        passes = plan.curves[cell.curve].passes
        return cls(
            round(median(one.seconds for one in known), DIGITS) if known else None,
            {} if passes is None else passes(cell.guidance_weight),
            sorted({(one.device, one.threads) for one in known}, key=str),
        )

    @property
    def all_passes(self) -> int | None:
        """Of all stages; None unless all are known."""
        known = [one for one in self.passes.values() if one is not None]
        return sum(known) if known and len(known) == len(self.passes) else None


@dataclass(frozen=True)
class Measure:
    """A number by which costs are compared. `unit`: as in "3 passes"."""

    name: str
    unit: str
    of: Callable[[Cost], float | None]


SECONDS = Measure("seconds per picture", "s", lambda cost: cost.seconds)
PASSES = Measure("network passes per picture", "passes", lambda cost: cost.all_passes)


def compared_by(curves: Mapping[str, Sequence[Cost]]) -> Measure | None:
    """How the costs of the points of `curves` are compared: by seconds if those of all were measured on the same device
    and threads, and not on a busy machine; else by passes if all are known. None for a single curve, and for curves
    that do not differ noticeably."""
    costs = [cost for points in curves.values() for cost in points]
    one_machine = len({machine for cost in costs for machine in cost.sampled_on}) == 1
    sound = one_machine and not any(map(was_busy, curves.values()))
    for measure in (SECONDS, PASSES) if sound else (PASSES,):
        if all(measure.of(cost) for cost in costs):  # known, and not 0, which no logarithmic axis shows
            of_curves = [median(measure.of(cost) or 0 for cost in points) for points in curves.values()]
            differ = len(curves) > 1 and max(of_curves) >= NOTICEABLE * min(of_curves)
            return measure if differ else None
    return None


def was_busy(points: Sequence[Cost]) -> bool:
    """Whether the seconds of a curve contradict its passes: a point took noticeably longer than another that makes as
    many passes or more of the same networks."""
    known = [(cost.seconds, cost.all_passes) for cost in points if cost.seconds and cost.all_passes]
    return any(
        seconds >= NOTICEABLE * others and passes <= more
        for (seconds, passes), (others, more) in permutations(known, 2)
    )
