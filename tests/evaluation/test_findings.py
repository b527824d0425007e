"""Sentences about numbers made by hand, whose answers are known: each fails if a comparison is turned round."""

from dataclasses import asdict, replace

import pytest
import torch

from imagen.evaluation.compare.findings import bests_table, comparison_findings
from imagen.evaluation.compare.sides import SharedCell, Side
from imagen.evaluation.judges.metric import CHECKED_ALL, Metric
from imagen.evaluation.report.best import best_of, paired
from imagen.evaluation.report.findings import best_weights_table, findings, spans
from imagen.evaluation.results.archive import Archive
from imagen.evaluation.statistics.jackknife import Jackknife
from imagen.evaluation.sweep.plan import Cell

from .hand_made import ALIGN, COUNT, FD, METRICS, cell, made, scores


def about(results, beginning):
    (sentence,) = [line for line in findings(results) if line.startswith(f"**{beginning}")]
    return sentence


def one_curve(key, means):
    return made({"dynamic": {weight: {key: mean} for weight, mean in means.items()}})


def test_the_highest_alignment_is_best_and_separated_though_the_intervals_overlap():
    """The pictures differ by far more than the weights do; the same pictures at two weights differ by the weight
    alone."""
    results = one_curve(ALIGN, {1: scores(5.0), 2: scores(5.2), 3: scores(5.1)})
    assert results.cells[0].intervals[ALIGN].high > results.cells[1].intervals[ALIGN].low
    assert about(results, "Alignment") == (
        "**Alignment** is highest at w = 2: `align[j]` 5.2 [5.06, 5.34] (separated from every other point)."
    )


def test_the_lowest_distance_is_best():
    results = one_curve(FD, {1: scores(5.0), 2: scores(5.2), 3: scores(5.1)})
    assert about(results, "The distance") == (
        "**The distance to real pictures** is lowest at w = 1: `fd[j]` 5 [4.86, 5.14] (separated from every other "
        "point)."
    )


def test_most_right_answers_are_best():
    right = torch.ones(COUNT, dtype=torch.float64)
    wrong = right.clone()
    wrong[:20] = 0
    text = about(one_curve(CHECKED_ALL, {1: right, 2: wrong}), "The checker")
    assert text.startswith("**The checker** finds most answers right at w = 1: `checker[all]` 1 ")
    assert "(separated from the other point)" in text


def test_weights_that_cannot_be_told_apart_from_the_best_are_named():
    """The third differs from the second by less than its own pictures flicker."""
    means = {1: scores(5.0), 2: scores(5.2), 3: scores(5.19, own=1), 5: scores(5.18, own=1), 8: scores(4)}
    results = one_curve(ALIGN, means)
    assert "(separated from 2 of the 4 others, not told apart from w = 3 and 5)" in about(results, "Alignment")
    assert best_weights_table(results)[1] == [ALIGN, "dynamic", "2", "5.2 [5.06, 5.34]", "1 and 8", "3 and 5"]
    both = one_curve(ALIGN, {1: scores(5.2), 2: scores(5.19, own=1)})
    assert "(not told apart from the other point)" in about(both, "Alignment")
    assert best_of(both.cells, METRICS[ALIGN]).alike == [Cell("dynamic", 2.0)]


def test_each_curve_has_weights_of_its_own():
    """The best of all is compared with every point of every curve; a curve's best with its own points."""
    results = made(
        {
            "one": {1: {ALIGN: scores(5.0)}, 3: {ALIGN: scores(5.5)}},
            "other": {0.5: {ALIGN: scores(5.49, own=1)}, 2: {ALIGN: scores(4.0)}},
        }
    )
    text = about(results, "Alignment")
    assert "highest at w = 3 of one: `align[j]` 5.5 " in text
    assert "(separated from 2 of the 3 others, not told apart from w = 0.5 of other)" in text
    assert [row[:3] + row[4:] for row in best_weights_table(results)[1:]] == [
        [ALIGN, "one", "3", "1", ""],
        [ALIGN, "other", "0.5", "2", ""],
    ]


def test_without_intervals_it_says_how_many_pictures_they_need_and_separates_nothing():
    results = made({"dynamic": {1: {FD: 3.0}, 2: {FD: 30.0}}}, pictures_for_interval={FD: 256})
    assert findings(results) == [
        "With 40 pictures for each point, the distance to real pictures is lowest at w = 1. The other point is not "
        "separated from all of these.",
        "**The distance to real pictures** is lowest at w = 1: `fd[j]` 3 (no interval below 256 pictures, here 40).",
    ]
    single = made({"dynamic": {1: {ALIGN: 3.0}, 2: {ALIGN: 4.0}}})
    single = replace(single, cells=[replace(one, count=1) for one in single.cells])
    assert findings(single)[1:] == [
        "**Alignment** is highest at w = 2: `align[j]` 4 (no interval below 2 pictures, here 1)."
    ]


def test_pictures_that_are_not_equally_many_are_not_paired():
    results = one_curve(ALIGN, {1: scores(5.0), 2: scores(5.2), 3: scores(3.0)[:30]})
    text = about(results, "Alignment")
    assert "separated from the other point, not compared with 1, for want of paired intervals" in text
    assert paired(results.cells[1], results.cells[2], ALIGN) is None


def test_an_interval_that_contradicts_the_plain_numbers_separates_nothing():
    """Corrected for bias, the plain best may be the worse one."""
    low, high = (cell("dynamic", weight, {FD: value}) for weight, value in ((1, scores(5.0)), (2, scores(5.2))))
    known = low.jackknives[FD]
    biased = Jackknife(known.value, known.without - 0.5, known.sizes)
    low = replace(low, jackknives={FD: biased}, intervals={FD: biased.interval})
    assert paired(low, high, FD).high < 0
    best = best_of([low, high], METRICS[FD])
    assert best.result is low
    assert (best.separated, best.alike) == ([], [high.cell])


def test_a_value_corrected_for_bias_is_given_beside_its_interval():
    known = cell("dynamic", 1, {FD: scores(5.0)})
    jackknife = known.jackknives[FD]
    biased = Jackknife(jackknife.value, jackknife.without + 0.1, jackknife.sizes)
    results = made({"dynamic": {1: {FD: scores(5.0)}}})
    results = replace(results, cells=[replace(known, jackknives={FD: biased}, intervals={FD: biased.interval})])
    assert "`fd[j]` 5, corrected for bias 3.1 [2.96, 3.24]." in about(results, "The distance")


def test_a_trade_off_is_claimed_only_if_no_point_may_be_best_by_both():
    def trade(align, fd):
        points = {weight: {ALIGN: a, FD: d} for weight, a, d in zip((1, 2), align, fd, strict=True)}
        return about(made({"dynamic": points}), "Trade-off")

    assert trade((scores(5), scores(6)), (scores(1), scores(3))) == (
        "**Trade-off**: alignment is bought with distance, because no point may be best by both `align[j]` and `fd[j]` "
        "(from w = 1 to w = 2 they change by +1 [+1, +1] and +2 [+2, +2])."
    )
    like_the_first, like_the_second = scores(1.01, own=1), scores(5.99, own=1)
    assert "not shown by `align[j]` and `fd[j]`, because w = 2 may be best by both (" in trade(
        (scores(5), scores(6)), (scores(1), like_the_first)
    )
    assert ", because w = 1 may be best by both (" in trade((like_the_second, scores(6)), (scores(1), scores(3)))
    without = trade((scores(5), scores(6)), (1.0, 3.0))
    assert ", for want of paired intervals (" in without
    assert "+1 [+1, +1] and +2 without an interval" in without
    assert trade((scores(5), scores(6)), (scores(3), scores(1))) == (
        "**Trade-off**: not shown by `align[j]` and `fd[j]`, both best at w = 2."
    )


def test_what_was_compared_and_what_the_intervals_are_of_is_said():
    means = {weight: scores(5 - 0.1 * weight) for weight in (1, 2, 3, 4)}
    text = about(one_curve(ALIGN, means), "How sure")
    assert "compared with the 3 others, pair by pair on the same prompts and noise" in text
    assert "Intervals are 95 %, of sampling only. Those of these comparisons are widened for their number" in text


def test_points_that_are_alike_are_seldom_separated_from_the_best_of_them():
    """The best is chosen by the same pictures. With intervals that are not widened one comparison in seven separates,
    not one in twenty; with widened ones 0.04 (of 200 samples of nine points)."""
    generator = torch.Generator().manual_seed(0)
    separated = 0
    for _ in range(60):
        draws = torch.randn((9, COUNT), generator=generator, dtype=torch.float64)
        alike = [cell("dynamic", weight, {ALIGN: one}) for weight, one in enumerate(draws)]
        separated += len(best_of(alike, METRICS[ALIGN]).separated)
    assert separated / (60 * 8) < 0.07


def test_an_interval_is_widened_for_several_comparisons_and_never_narrowed():
    one, other = (cell("dynamic", weight, {ALIGN: scores(5.0, own=weight)}) for weight in (1, 2))
    widths = [(change := paired(one, other, ALIGN, number)).high - change.low for number in (1, 2, 10)]
    assert widths[0] == widths[1] == pytest.approx(2 * 2.093 * widths[2] / (2 * 2.861), rel=1e-3)  # t of 19 degrees


def test_the_summary_counts_the_points_that_may_be_as_good():
    right = torch.ones(COUNT, dtype=torch.float64)
    points = {
        1: {ALIGN: scores(5.0), FD: scores(1.0), CHECKED_ALL: right},
        2: {ALIGN: scores(6.0), FD: scores(3.0), CHECKED_ALL: 0 * right},
        3: {ALIGN: scores(5.99, own=1), FD: scores(4.0), CHECKED_ALL: 0 * right},
    }
    assert findings(made({"dynamic": points}))[0] == (
        "With 40 pictures for each point, alignment is highest at w = 2, the distance to real pictures is lowest at "
        "w = 1 and the checker finds most answers right at w = 1. Of 2 other points, 0 to 1 cannot be told apart from "
        "these."
    )
    points = {weight: {FD: scores(float(weight))} for weight in (1, 2)}
    assert findings(made({"dynamic": points}))[0].endswith("Every other point is separated from these.")
    assert findings(made({"dynamic": {1: {FD: scores(1.0)}}}))[0].endswith("is lowest at w = 1.")


def test_no_numbers_no_sentences():
    assert findings(made({"dynamic": {1: {}}})) == []


@pytest.mark.parametrize(
    ("chosen", "bridge", "text"),
    [([1, 2, 3], None, "1 to 3"), ([2, 5], 3, "2 to 5"), ([1, 2], 3, "1 and 2"), ([3, 5], 2, "3 and 5"), ([], 2, "")],
)
def test_weights_in_a_row_are_a_span_that_may_hold_the_best(chosen, bridge, text):
    chosen, bridge = [float(weight) for weight in chosen], bridge and float(bridge)
    assert spans(chosen, [1.0, 2.0, 3.0, 5.0], bridge) == text


def side(**facts):
    """An evaluation of which the sentences read the metrics and the number of pictures that intervals need."""
    metrics = [asdict(metric) for metric in (*METRICS.values(), Metric.of_checker(CHECKED_ALL))]
    return Side("s", {"metrics": metrics, "cells": []} | facts, Archive([], [], [], {}, {}))


def common(points):
    """`points`: by weight, the numbers of A and of B."""
    shared = []
    for weight, (mine, theirs) in points.items():
        one, other = (cell("dynamic", weight, numbers) for numbers in (mine, theirs))
        both = {key: (other.jackknives[key] - one.jackknives[key]).interval for key in one.jackknives}
        shared.append(SharedCell(one.cell, one, other, both))
    return shared


@pytest.mark.parametrize(
    ("key", "name", "first", "second"), [(ALIGN, "Alignment", "B", "A"), (FD, "Distance", "A", "B")]
)
def test_a_comparison_says_which_is_better_where(key, name, first, second):
    """B's number is higher at 1 and 2, lower at 3, equal up to chance at 5."""
    changes = {1: scores(5.5), 2: scores(5.25), 3: scores(4.9), 5: scores(5.01, own=1)}
    shared = common({weight: ({key: scores(5.0)}, {key: theirs}) for weight, theirs in changes.items()})
    sentence, how_sure = comparison_findings(side(), side(), shared)
    assert sentence.startswith(f"**{name}")
    assert f"{first} is better at w = 1 and 2 (most at w = 1: +0.5 [+0.5, +0.5])" in sentence
    assert f"{second} is better at w = 3 (-0.1 [-0.1, -0.1])" in sentence
    assert sentence.endswith("not told apart at w = 5.")
    assert "at each of 4 common points" in how_sure
    assert "of sampling only" in how_sure


def test_a_comparison_without_intervals_or_differences_claims_nothing():
    shared = common({1: ({FD: 3.0}, {FD: 9.0})})
    assert comparison_findings(side(pictures_for_interval={FD: 256}), side(), shared) == [
        "**Distance to real pictures** by `fd[j]`: no interval below 256 pictures, here 40."
    ]
    same = common({weight: ({ALIGN: scores(5.0)}, {ALIGN: scores(5.0)}) for weight in (1, 2)})
    assert (
        comparison_findings(side(), side(), same)[0]
        == "**Alignment** by `align[j]`: not told apart at any of 2 points."
    )


def test_the_best_of_each_are_compared_though_their_weights_differ():
    shared = common({1: ({ALIGN: scores(5.0)}, {ALIGN: scores(7.0)}), 2: ({ALIGN: scores(6.0)}, {ALIGN: scores(5.0)})})
    assert bests_table(side(), side(), shared)[1] == [
        ALIGN, "w = 2", "w = 1", "6 [5.86, 6.14]", "7 [6.86, 7.14]", "**+1 [+1, +1]**"
    ]  # fmt: skip
