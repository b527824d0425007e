"""Few, identical or broken pictures give finite numbers, or one line that says why there are none."""

import math
from dataclasses import replace

import pytest
import torch

from imagen.errors import UserError
from imagen.evaluation.judges.checker import ShapesChecker
from imagen.evaluation.judges.extractor import cosines
from imagen.evaluation.results.summary import Summary
from imagen.evaluation.statistics.extrapolation import frechet_at_infinity
from imagen.evaluation.statistics.frechet import Gaussian
from imagen.evaluation.statistics.jackknife import jackknife_mean
from imagen.evaluation.statistics.kernel_distance import CMMD, KID, KernelDistance
from imagen.evaluation.statistics.precision_recall import precision_recall
from imagen.evaluation.statistics.sliced_distance import SlicedDistance
from imagen.evaluation.sweep.plan import Cell
from imagen.evaluation.sweep.sweep import Panel

WIDTH = 16
"""Features of the tiny judge."""


def drawn(count, seed):
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed))


def measured(judge, random_pixels, prompts, features, reference):
    """The numbers and audits of as many pictures as there are `features`, whatever they show."""
    count = len(features)
    chosen = prompts.first(count)
    panel = Panel([judge], ShapesChecker())
    block = panel.look(random_pixels[:count], chosen.prompts, keep=0)
    scores = cosines(features, judge.text_features(chosen.texts))
    block = replace(block, features={judge.name: features}, cosines={judge.name: scores})
    summary = Summary(panel, chosen, {judge.name: reference}, chosen)
    return summary.measure(block), summary.audits({Cell("curve", 1.0): block})


@pytest.mark.parametrize("form", ["other", "the reference", "identical", "constant", "all identical"])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 12])
def test_all_numbers_of_few_or_identical_pictures_are_finite_and_audited(judge, random_pixels, prompts, count, form):
    features, reference = drawn(count, 1), drawn(max(count, 2), 2)
    if form == "the reference":
        reference = features if count > 1 else reference
    if form in ("identical", "all identical"):
        features = features[:1].expand(count, -1)
    if form == "constant":
        features = torch.full_like(features, 0.5)
    if form == "all identical":
        reference = features[:1].expand(max(count, 2), -1)
    found, audits = measured(judge, random_pixels, prompts, features, reference)
    assert all(math.isfinite(value) for value in found.values.values())
    for name, interval in found.intervals.items():
        assert all(math.isfinite(number) for number in (interval.low, interval.estimate, interval.high)), name
        assert interval.low <= interval.estimate <= interval.high
    assert all(audit.agrees for audit in audits)
    assert ("fd[tiny]" in found.values) == (count > 1)
    assert ("precision[tiny]" in found.values) == (count > 3)


@pytest.mark.parametrize("count", [1, 5])
def test_features_that_are_no_numbers_are_refused_by_the_name_of_the_judge(judge, random_pixels, prompts, count):
    features = drawn(count, 1)
    features[-1, 3] = math.nan
    with pytest.raises(UserError, match=r"judge tiny contain nan or infinity"):
        measured(judge, random_pixels, prompts, features, drawn(5, 2))


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (lambda one, few: KernelDistance(KID, one)(few), "at least 2 pictures on each side, found 1"),
        (lambda one, few: KernelDistance(CMMD, few)(one), "at least 2 pictures on each side, found 1"),
        (lambda one, few: SlicedDistance(one)(few), "at least 2 pictures on each side, found 1"),
        (lambda one, few: SlicedDistance(few)(one), "at least 2 pictures on each side, found 1"),
        (lambda one, few: precision_recall(one, few, 3), "more than 3 pictures on each side, found 1"),
        (lambda one, few: precision_recall(few, few[:3], 3), "more than 3 pictures on each side, found 3"),
        (lambda one, few: jackknife_mean(one[:, 0].double()), "at least 2 pictures, found 1"),
    ],
    ids=["kid", "cmmd", "mind", "mind of one", "precision", "recall", "mean"],
)
def test_too_few_pictures_are_said_in_one_line(number, expected):
    with pytest.raises(UserError, match=expected):
        number(drawn(1, 1), drawn(5, 2))


def test_extrapolation_of_identical_pictures_is_zero_without_a_sign():
    features = drawn(1, 1).expand(4 * WIDTH, -1)
    assert math.copysign(1, frechet_at_infinity(Gaussian.fit(features), features)) == 1
