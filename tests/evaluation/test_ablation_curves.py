"""Finished evaluations as curves: plots, tables and refusals."""

from dataclasses import asdict

import pytest
from PIL import Image

from imagen.errors import UserError
from imagen.evaluation.ablation.curves import (
    compare_curves,
    curve_across,
    curve_of_weights,
    insist_on_agreement,
    read_published,
)
from imagen.evaluation.ablation.plot import plot_ablation_across, plot_guidance_ablation
from imagen.evaluation.ablation.table import ablation_table
from imagen.evaluation.compare.sides import MUST_AGREE
from imagen.evaluation.judges.metric import ALIGNMENT, FRECHET, Metric

AXES = (("align", ALIGNMENT), ("fd", FRECHET))


def results(*weights: float, right: float = 0.5, seed: int = 0) -> dict:
    """The part of a results.json that is read: the curve "dynamic" at these weights."""
    metrics = {
        "align[a]": 0.6,
        "fd[a]": 20.0,
        "checker[all]": right,
        "checker[colours]": 0.75,
        "checker[abstained]": 0.1,
    }
    interval = {"estimate": 18.0, "low": 15.0, "high": 21.0, "method": "jackknife"}
    return dict.fromkeys(MUST_AGREE, "same") | {
        "cells": [
            {
                "curve": "dynamic",
                "guidance_weight": weight,
                "pictures": 8,
                "metrics": metrics,
                "intervals": {"fd[a]": interval},
            }
            for weight in weights
        ],
        "metrics": [asdict(Metric.of_judge(f"{name}[a]", "a", axis)) for name, axis in AXES]
        + [asdict(Metric.of_checker(name)) for name in metrics if name.startswith("checker")],
        "controls": {"ground-truth": {"fd[a]": 5.0, "checker[all]": 1.0}},
        "seed": seed,
        "pictures_per_cell": 8,
        "resolution": 16,
    }


def test_a_curve_runs_by_weight_and_its_table_shows_intervals_and_real_pictures():
    curve = curve_of_weights("T5", results(2.0, 1.0), "dynamic")
    assert [value for value, _ in curve.points] == [1.0, 2.0]
    table = ablation_table(compare_curves("Encoder", "w", [curve], results(1.0))).splitlines()
    assert table[0] == "| Encoder | w | `checker[all]` | `checker[colours]` | `align[a]` | `fd[a]` |"
    assert table[2:] == [
        "| T5 | 1 | 0.5 | 0.75 | 0.6 | 20 [15, 21] |",
        "| T5 | 2 | 0.5 | 0.75 | 0.6 | 20 [15, 21] |",
        "| real pictures |  | 1 |  |  | 5 |",
    ]


def test_a_curve_across_something_else_takes_one_point_from_each_evaluation(tmp_path):
    curve = curve_across("with", {0.4: results(2.0, right=0.2), 0.0: results(2.0, right=0.8)}, "dynamic")
    assert [(value, cell.metrics["checker[all]"]) for value, cell in curve.points] == [(0.0, 0.8), (0.4, 0.2)]
    with pytest.raises(UserError, match=r"with: the evaluation at 0\.1 has 2 guidance weights"):
        curve_across("with", {0.1: results(1.0, 2.0)}, "dynamic")
    with pytest.raises(UserError, match="with: the evaluation has no curve 'static'"):
        curve_across("with", {0.1: results(1.0)}, "static")
    plot_ablation_across(compare_curves("Noise", "aug_level", [curve], results(1.0)), tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.width > 1000


def test_evaluations_measured_in_different_ways_are_refused():
    insist_on_agreement([results(1.0), results(2.0)], ["one", "other"])
    with pytest.raises(UserError, match="one and other differ in seed: 0 and 1"):
        insist_on_agreement([results(1.0), results(1.0, seed=1)], ["one", "other"])


def test_published_points_stand_beside_ours(tmp_path):
    path = tmp_path / "figure.csv"
    path.write_text("# from a figure\npanel,series,guidance,clip_cosine,fid10k\na,XXL,1,0.24,13.3\nb,2B,1,0.25,10.2\n")
    published = read_published(path, "a")
    assert published == {"XXL": [(1.0, 0.24, 13.3)]}
    with pytest.raises(UserError, match="no panel 'c'"):
        read_published(path, "c")
    curves = [curve_of_weights(label, results(1.0, 2.0), "dynamic") for label in ("one", "other")]
    comparison = compare_curves("Encoder", "w", curves, results(1.0))
    plain, again, beside = (tmp_path / f"{name}.png" for name in ("plain", "again", "beside"))
    plot_guidance_ablation(comparison, {}, plain)
    plot_guidance_ablation(comparison, {}, again)
    plot_guidance_ablation(comparison, published, beside)
    assert plain.read_bytes() == again.read_bytes() != beside.read_bytes()
