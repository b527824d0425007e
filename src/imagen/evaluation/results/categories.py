"""Numbers by category of a published prompt set: DrawBench's eleven, PartiPrompts' twelve; and by kind of question."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from imagen.evaluation.judges.answerer import Answerer
from imagen.evaluation.judges.metric import CHECKED_ALL, SOFT_TIFA_AM, SOFT_TIFA_GM, VQA
from imagen.evaluation.prompts.prompt_set import Question
from imagen.evaluation.statistics.jackknife import Interval, enough_for_mean, jackknife_mean, wilson
from imagen.evaluation.statistics.soft_tifa import arithmetic_means, geometric_means, pooled_mean
from imagen.evaluation.sweep.blocks import Block
from imagen.evaluation.sweep.sweep import Panel
from imagen.tensors import PerImage


@dataclass(frozen=True)
class CategoryResult:
    """The numbers of one category with `count` pictures, and the intervals of those that have one. Of a kind of
    question: `count` pictures that such a question was asked about."""

    count: int
    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]


def picture_scores(panel: Panel, block: Block) -> dict[str, PerImage]:
    """By key, one float64 number for each picture: alignments, VQAScore, Soft-TIFA (NaN of pictures that nothing was
    asked about)."""
    scores = {
        judge.alignment_key: block.cosines[name].double() * judge.alignment_scale
        for name, judge in panel.aligners.items()
    }
    for judge in panel.answerers:
        keys = {axis: metric.key for axis, metric in judge.metrics.items()}
        scores[keys[VQA]] = block.scores[judge.name].double()
        scores[keys[SOFT_TIFA_AM]] = arithmetic_means(block.answers[judge.name])
        scores[keys[SOFT_TIFA_GM]] = geometric_means(block.answers[judge.name])
    return scores


def measure_categories(categories: Sequence[str | None], panel: Panel, block: Block) -> dict[str, CategoryResult]:
    """`picture_scores` and the checker's share of right pictures, by category in the order of the prompts.

    `categories`: one for each picture of `block`; pictures without a category are left out. Distances are not split,
    because a category has too few pictures. A cosine that is NaN is of a picture whose caption the judge cannot read.
    """
    names = list(dict.fromkeys(category for category in categories if category is not None))
    scores = picture_scores(panel, block) if names else {}
    return {name: _measure([c == name for c in categories], scores, block) for name in names}


def measure_kinds(
    questions: Sequence[Sequence[Question]], answerers: Iterable[Answerer], block: Block
) -> dict[str, CategoryResult]:
    """The mean probability of right answers (Soft-TIFA AM over all questions at once), by kind of question.

    `questions`: of each picture of `block`. Questions without a kind are left out.
    """
    names = list(dict.fromkeys(one.kind for asked in questions for one in asked if one.kind is not None))
    judges = list(answerers)
    return {name: _measure_kind(name, questions, judges, block) for name in names} if judges else {}


def _measure_kind(
    kind: str, questions: Sequence[Sequence[Question]], judges: Iterable[Answerer], block: Block
) -> CategoryResult:
    metrics: dict[str, float] = {}
    intervals: dict[str, Interval] = {}
    for judge in judges:
        key = judge.metrics[SOFT_TIFA_AM].key
        answers = [
            [value for value, question in zip(values, asked, strict=True) if question.kind == kind]
            for values, asked in zip(block.answers[judge.name], questions, strict=True)
        ]
        all_answers = [value for values in answers for value in values]
        metrics[key] = sum(all_answers) / len(all_answers)
        pooled = pooled_mean(answers) if len(answers) > 1 else None
        if pooled is not None and pooled.without.isfinite().all():
            intervals[key] = pooled.interval
    count = sum(any(question.kind == kind for question in asked) for asked in questions)
    return CategoryResult(count, metrics, intervals)


def _measure(chosen: Sequence[bool], scores: Mapping[str, PerImage], block: Block) -> CategoryResult:
    metrics: dict[str, float] = {}
    intervals: dict[str, Interval] = {}
    for key, every in scores.items():
        own = every[torch.tensor(chosen)]
        known = own[~own.isnan()]
        if len(known):
            metrics[key] = float(known.mean())
        if enough_for_mean(own):
            intervals[key] = jackknife_mean(own).interval
    verdicts = [
        verdict for verdict, selected in zip(block.verdicts, chosen, strict=True) if selected and verdict is not None
    ]
    if verdicts:
        right = sum(verdict["correct"] for verdict in verdicts)
        metrics[CHECKED_ALL] = right / len(verdicts)
        intervals[CHECKED_ALL] = wilson(right, len(verdicts))
    return CategoryResult(sum(chosen), metrics, intervals)
