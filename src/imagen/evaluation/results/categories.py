"""Numbers by category of a published prompt set: DrawBench's eleven, PartiPrompts' twelve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from imagen.evaluation.judges.extractor import AlignmentJudge, Extractor
from imagen.evaluation.statistics.jackknife import Interval, jackknife_mean, wilson
from imagen.evaluation.sweep.blocks import Block


@dataclass(frozen=True)
class CategoryResult:
    """The numbers of one category with `count` pictures, and the intervals of those that have one."""

    count: int
    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]


def measure_categories(
    categories: Sequence[str | None], judges: Sequence[Extractor], block: Block
) -> dict[str, CategoryResult]:
    """Alignments and the checker's share of right pictures, by category in the order of the prompts.

    `categories`: one for each picture of `block`; pictures without a category are left out. Distances are not split,
    because a category has too few pictures.
    """
    names = list(dict.fromkeys(category for category in categories if category is not None))
    return {name: _measure([c == name for c in categories], judges, block) for name in names}


def _measure(chosen: Sequence[bool], judges: Sequence[Extractor], block: Block) -> CategoryResult:
    metrics: dict[str, float] = {}
    intervals: dict[str, Interval] = {}
    for judge in judges:
        if isinstance(judge, AlignmentJudge):
            scores = block.cosines[judge.name].double()[torch.tensor(chosen)] * judge.alignment_scale
            metrics[judge.alignment_key] = float(scores.mean())
            if len(scores) > 1:
                intervals[judge.alignment_key] = jackknife_mean(scores).interval
    verdicts = [
        verdict for verdict, selected in zip(block.verdicts, chosen, strict=True) if selected and verdict is not None
    ]
    if verdicts:
        right = sum(verdict["correct"] for verdict in verdicts)
        metrics["checker[all]"] = right / len(verdicts)
        intervals["checker[all]"] = wilson(right, len(verdicts))
    return CategoryResult(sum(chosen), metrics, intervals)
