"""Several trainings of the same stage: their curves at equal alignment, and what is refused."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image

from imagen.errors import UserError
from imagen.evaluation.compare.sides import MUST_AGREE, Side
from imagen.evaluation.compare.trainings import across_trainings, interval_of_trainings
from imagen.evaluation.compare.trainings_points import points_of
from imagen.evaluation.compare.trainings_report import as_markdown, write_trainings
from imagen.evaluation.judges.metric import ALIGNMENT, FRECHET, Metric
from imagen.evaluation.results.archive import Archive
from imagen.evaluation.statistics.jackknife import jackknife_mean

WEIGHTS = (1.0, 2.0, 4.0)


def training(name, extra, alignments=(0.2, 0.4, 0.6), **facts):
    """An evaluation of two curves of equal alignment; the second one's distance is `extra` larger."""
    spread = torch.linspace(-0.01, 0.01, 40, dtype=torch.float64)
    cells, jackknives = [], {}
    for label, more, reached in (("plain", 0.0, (0.2, 0.4, 0.6)), ("rule", extra, alignments)):
        for weight, alignment in zip(WEIGHTS, reached, strict=True):
            numbers = {"align[j]": alignment, "fd[j]": 10 * weight + more}
            intervals = {key: {"estimate": value, "low": value, "high": value, "method": "jackknife"}
                         for key, value in numbers.items()}  # fmt: skip
            cells.append(
                {"curve": label, "guidance_weight": weight, "pictures": 40, "metrics": numbers, "intervals": intervals}
            )
            jackknives[f"{label}-w{weight}"] = {key: jackknife_mean(value + spread) for key, value in numbers.items()}
    axes = (("align[j]", ALIGNMENT), ("fd[j]", FRECHET))
    known = {
        "cells": cells, "controls": {}, "metrics": [asdict(Metric.of_judge(key, "j", axis)) for key, axis in axes],
        "curves": {"plain": {"stages": [{"weights_sha256": name, "sampler": "ddim"}]}}, "pictures_per_cell": 40,
    }  # fmt: skip
    return Side(
        name, dict.fromkeys(MUST_AGREE, "same") | known | facts, Archive([], [], list(jackknives), {}, jackknives)
    )


def test_the_mean_over_trainings_has_an_interval_of_trainings():
    found = across_trainings([training("s0", 1.0), training("s1", 2.0), training("s2", 3.0)])
    assert [(one.curve, one.base_weight) for one in found] == [("rule", 2.0), ("rule", 4.0)]
    for one in found:
        assert [each.difference.estimate for each in one.each] == pytest.approx([1, 2, 3])
        # Student's t with 2 degrees of freedom is 4.303 standard errors, of 1 / sqrt(3) here.
        assert (one.mean.estimate, one.mean.low, one.mean.high) == pytest.approx((2, 2 - 2.484, 2 + 2.484), abs=1e-3)


def test_the_interval_covers_the_mean_of_normal_trainings():
    rng = np.random.default_rng(0)
    intervals = [interval_of_trainings(rng.normal(3.0, 2.0, size=3).tolist()) for _ in range(1000)]
    assert 0.93 <= np.mean([one.low <= 3.0 <= one.high for one in intervals]) <= 0.97


def test_a_curve_that_is_not_so_aligned_in_every_training_has_no_mean():
    sides = [training("s0", 1.0), training("s1", 2.0, alignments=(0.2, 0.4, 0.5))]
    at_two, at_four = across_trainings(sides)
    assert at_two.mean is not None
    assert at_four.mean is None
    text = as_markdown(sides, [at_two, at_four], points_of(sides))
    assert "| rule | +1.5 [-4.9, +7.9] | known of 1 of 2 |" in text
    assert "|  | +1, +2 | +1, – |" in text


def test_each_point_has_the_mean_of_its_trainings_and_differs_from_the_first_curve_pair_by_pair():
    sides = [training("s0", 1.0), training("s1", 2.0), training("s2", 3.0, alignments=(0.1, 0.4, 0.7))]
    points = {(one.curve, one.weight, one.metric): one for one in points_of(sides)}
    assert len(points) == 2 * 3 * 2
    distance = points["rule", 2.0, "fd[j]"]
    assert distance.each == [21, 22, 23]
    assert distance.mean == interval_of_trainings([21, 22, 23])
    assert distance.difference == interval_of_trainings([1, 2, 3])
    assert points["rule", 1.0, "align[j]"].difference == interval_of_trainings([0, 0, 0.1 - 0.2])
    assert points["plain", 2.0, "fd[j]"].difference is None
    text = as_markdown(sides, across_trainings(sides), list(points.values()))
    assert "| plain | 10 [10, 10] | 20 [20, 20] | 40 [40, 40] |" in text
    assert "| rule | 12 [9.52, 14.5] |" in text
    assert "| minus plain | +2 [-0.48, +4.5] |" in text


def test_a_point_that_one_training_lacks_is_left_out_and_the_judge_that_taught_is_named():
    sides = [training("s0", 1.0, taught_by=["j"]), training("s1", 2.0)]
    del sides[1].results["cells"][4]["metrics"]["fd[j]"]  # of the rule, at 2
    found = {(one.curve, one.weight) for one in points_of(sides) if one.metric == "fd[j]"}
    assert found == {("plain", 1), ("plain", 2), ("plain", 4), ("rule", 1), ("rule", 4)}
    text = as_markdown(sides, across_trainings(sides), points_of(sides))
    assert "**j is the CLIP that stages were trained with: it is no judge of them.**" in text


@pytest.mark.parametrize("fact", [*MUST_AGREE, "curves"])
def test_trainings_that_were_measured_or_sampled_in_other_ways_are_not_combined(fact):
    another = {"plain": {"stages": [{"sampler": "heun"}]}} if fact == "curves" else "another"
    with pytest.raises(UserError, match=f"^trainings: s0 and s1 differ in {fact}: "):
        across_trainings([training("s0", 1.0), training("s1", 2.0, **{fact: another})])


def test_one_training_is_not_counted_twice():
    curves = {"curves": training("s0", 1.0).results["curves"]}
    with pytest.raises(UserError, match="s0 and again are of the same weights; leave one of them out"):
        across_trainings([training("s0", 1.0), training("s1", 1.0), training("again", 1.0, **curves)])


def test_trainings_of_one_curve_have_nothing_to_compare():
    alone = [training("s0", 1.0), training("s1", 1.0)]
    for side in alone:
        side.results["cells"][:] = side.results["cells"][:3]
        for label in [name for name in side.archive.jackknives if name.startswith("rule")]:
            del side.archive.jackknives[label], side.archive.cells[side.archive.cells.index(label)]
    with pytest.raises(UserError, match="s0 and the others have no two curves with intervals in common"):
        across_trainings(alone)


def test_the_files_of_three_trainings(tmp_path):
    sides = [training(f"s{seed}", float(seed)) for seed in (1, 2, 3)]
    write_trainings(sides, tmp_path)
    found = json.loads((tmp_path / "trainings.json").read_text())
    assert found["trainings"] == ["s1", "s2", "s3"]
    assert [one["mean"]["estimate"] for one in found["compared"]] == pytest.approx([2.0, 2.0])
    assert all(Image.open(tmp_path / name).width > 300 for name in ("trainings.png", "points.png"))
    assert "## fd[j] at equal align[j]" in (tmp_path / "trainings.md").read_text()
