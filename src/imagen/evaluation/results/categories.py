"""Numbers by category of a published prompt set: DrawBench's eleven, PartiPrompts' twelve."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from imagen.evaluation.judges.extractor import AlignmentJudge
from imagen.evaluation.judges.metric import CHECKED_ALL
from imagen.evaluation.statistics.jackknife import Interval, enough_for_mean, jackknife_mean, wilson
from imagen.evaluation.sweep.blocks import Block


@dataclass(frozen=True)
class CategoryResult:
    """The numbers of one category with `count` pictures, and the intervals of those that have one."""

    count: int
    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]


def measure_categories(
    categories: Sequence[str | None], aligners: Iterable[AlignmentJudge], block: Block
) -> dict[str, CategoryResult]:
    """Alignments and the checker's share of right pictures, by category in the order of the prompts.

    `categories`: one for each picture of `block`; pictures without a category are left out. Distances are not split,
    because a category has too few pictures. A cosine that is NaN is of a picture whose caption the judge cannot read.
    """
    names = list(dict.fromkeys(category for category in categories if category is not None))
    return {name: _measure([c == name for c in categories], aligners, block) for name in names}


def _measure(chosen: Sequence[bool], aligners: Iterable[AlignmentJudge], block: Block) -> CategoryResult:
    metrics: dict[str, float] = {}
    intervals: dict[str, Interval] = {}
    for judge in aligners:
        scores = block.cosines[judge.name].double()[torch.tensor(chosen)] * judge.alignment_scale
        known = scores[~scores.isnan()]
        if len(known):
            metrics[judge.alignment_key] = float(known.mean())
        if enough_for_mean(scores):
            intervals[judge.alignment_key] = jackknife_mean(scores).interval
    verdicts = [
        verdict for verdict, selected in zip(block.verdicts, chosen, strict=True) if selected and verdict is not None
    ]
    if verdicts:
        right = sum(verdict["correct"] for verdict in verdicts)
        metrics[CHECKED_ALL] = right / len(verdicts)
        intervals[CHECKED_ALL] = wilson(right, len(verdicts))
    return CategoryResult(sum(chosen), metrics, intervals)
