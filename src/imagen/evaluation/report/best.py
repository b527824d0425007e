"""The best cell by a metric, and which others cannot be told apart from it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch

from imagen.evaluation.judges.metric import ALIGNMENT, CHECKED_ALL, FRECHET, VQA, Metric
from imagen.evaluation.results.results import CellResult
from imagen.evaluation.statistics.jackknife import LEVEL, Interval
from imagen.evaluation.sweep.plan import Cell

BEST_OF = {
    ALIGNMENT: ("Alignment", "is highest"),
    VQA: ("VQAScore", "is highest"),
    FRECHET: ("The distance to real pictures", "is lowest"),
    CHECKED_ALL: ("The checker", "finds most answers right"),
}
"""How a sentence about the best by such metrics begins, in the order of the sentences."""


@dataclass(frozen=True)
class Best:
    """The best cell by one metric, against each other cell that has the metric.

    `separated`: cells that are worse, as the interval of the paired difference says, which is widened for the number of
    cells; `alike`: that interval includes zero, or contradicts the plain numbers; `unpaired`: there is none, because a
    jackknife is missing or the pictures are not equally many.

    The plain best was chosen by the same pictures, so an interval that is not widened would separate too much. These
    ones are multiple comparisons with the best (Hsu 1981) by Bonferroni's bound: the truly best cell is called
    separated in at most 1 - `LEVEL` of all samples.
    """

    metric: Metric
    result: CellResult
    separated: Sequence[Cell]
    alike: Sequence[Cell]
    unpaired: Sequence[Cell]

    @property
    def others(self) -> int:
        return len(self.separated) + len(self.candidates) - 1

    @property
    def candidates(self) -> list[Cell]:
        """The cells that may be best."""
        return [self.result.cell, *self.alike, *self.unpaired]


def judged(metrics: Iterable[Metric]) -> list[Metric]:
    """The metrics that the sentences are about: alignments, then Fréchet distances, then the checker's total."""
    order = list(BEST_OF)
    chosen = [metric for metric in metrics if kind_of(metric) in order]
    return sorted(chosen, key=lambda metric: order.index(kind_of(metric)))


def kind_of(metric: Metric) -> str:
    """The key of `BEST_OF`, for metrics that have one."""
    return metric.key if metric.key == CHECKED_ALL else metric.axis


def best_of(cells: Sequence[CellResult], metric: Metric) -> Best | None:
    """The best of `cells` by the plain number, and how the others compare with it; None if none has the number."""
    known = [one for one in cells if metric.key in one.metrics]
    if not known:
        return None
    choose = min if metric.lower_is_better else max
    best = choose(known, key=lambda one: one.metrics[metric.key])
    separated, alike, unpaired = [], [], []
    for other in known:
        if other is not best:
            change = paired(best, other, metric.key, len(known) - 1)
            kind = unpaired if change is None else separated if is_worse(change, metric) else alike
            kind.append(other.cell)
    return Best(metric, best, separated, alike, unpaired)


def paired(one: CellResult, other: CellResult, key: str, comparisons: int = 1) -> Interval | None:
    """The number of `other` minus that of `one` on the same prompts and noise; None without a paired interval. The
    interval is widened if it is one of several `comparisons` with a best."""
    mine, theirs = one.jackknives.get(key), other.jackknives.get(key)
    if mine is None or theirs is None or not torch.equal(mine.sizes, theirs.sizes):
        return None
    return _widened((theirs - mine).interval, len(mine.sizes), comparisons)


def _widened(interval: Interval, groups: int, comparisons: int) -> Interval:
    """The interval whose error on the one side that matters is `comparisons` times smaller; never a narrower one."""
    from scipy.stats import t

    tail = min((1 - LEVEL) / comparisons, (1 - LEVEL) / 2)
    factor = float(t.isf(tail, groups - 1) / t.isf((1 - LEVEL) / 2, groups - 1))
    low, high = (interval.estimate + factor * (end - interval.estimate) for end in (interval.low, interval.high))
    return replace(interval, low=low, high=high)


def is_worse(change: Interval, metric: Metric) -> bool:
    """Whether the whole interval of a change is on the worse side of zero."""
    return change.low > 0 if metric.lower_is_better else change.high < 0


def is_better(change: Interval, metric: Metric) -> bool:
    """Whether the whole interval of a change is on the better side of zero."""
    return change.high < 0 if metric.lower_is_better else change.low > 0
