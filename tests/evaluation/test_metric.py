"""A metric carries its meaning: published names, which cannot be parsed, work in all plots and comparisons."""

import json
import re
from dataclasses import asdict
from typing import ClassVar

import pytest
import torch
from PIL import Image

from imagen.errors import UserError
from imagen.evaluation.ablation.curves import compare_curves, curve_across, curve_of_weights
from imagen.evaluation.ablation.plot import plot_ablation_across, plot_guidance_ablation
from imagen.evaluation.ablation.table import ablation_table
from imagen.evaluation.compare.report import write_comparison
from imagen.evaluation.compare.sides import load_side, read_results
from imagen.evaluation.judges.checker import NoChecker
from imagen.evaluation.judges.extractor import AlignmentJudge, Extractor
from imagen.evaluation.judges.metric import ALIGNMENT, CHECKER, FRECHET, KID, MIND, Metric, pareto_pairs, read_metrics
from imagen.evaluation.judges.names import INCEPTION_SHA256, PUBLISHED
from imagen.evaluation.prompts.prompt_set import shapes_prompts
from imagen.evaluation.report.pareto_plot import plot_pareto
from imagen.evaluation.report.tables import best
from imagen.evaluation.report.tensorboard import _pareto_first

from .stand_ins import DrawingSampler, plan
from .test_sweep import evaluation


class Colours(Extractor):
    """Mean colours under the name of Inception."""

    name, fidelity_key, suffix = "inception", "fid", ""
    identity: ClassVar = {"files": {"weights": INCEPTION_SHA256}}

    def image_features(self, pixels):
        return pixels.float().mean(dim=(1, 2)) / 255


class Dino(Colours):
    name, fidelity_key, suffix = "dinov2", "fd_dinov2", "_dinov2"
    identity: ClassVar = {"files": PUBLISHED["dinov2"][0]}


class Letters(AlignmentJudge, Colours):
    """Under the name of the published CLIP: cosines with the lengths of captions."""

    name, fidelity_key, suffix = "clip-vit-large-patch14", "fd[clip-vit-large-patch14]", None
    alignment_key, alignment_scale = "clip_score", 100.0
    identity: ClassVar = {"files": PUBLISHED["clip-vit-large-patch14"][0]}

    def text_features(self, captions):
        return torch.tensor([[len(caption), 30.0, caption.count("a")] for caption in captions])

    def too_long(self, captions):
        return [False] * len(captions)


def evaluated(out, judges, **changes):
    prompts = shapes_prompts(count=12, seed=5)
    results = evaluation(out, judges, prompts, **changes).run(plan(DrawingSampler(prompts)))
    return results, read_results(out)


@pytest.fixture(scope="module")
def published(tmp_path_factory, judge):
    """Published numbers, those of another judge, and nothing checked: as `metrics=published_all` and one more."""
    out = tmp_path_factory.mktemp("published")
    return *evaluated(out, [judge, Colours(), Letters(), Dino()], checker=NoChecker()), out


PAIRS = [
    ("align[tiny]", "fd[tiny]"),
    ("align[tiny]", "fid"),
    ("clip_score", "fd[clip-vit-large-patch14]"),
    ("align[tiny]", "fd_dinov2"),
]


def test_a_judge_of_published_numbers_names_them_all():
    inception = {"fid", "fd_inf", "kid", "mind", "precision", "recall", "diversity"}
    assert {metric.key for metric in Colours().metrics.values()} == inception
    dino = {f"{name}_dinov2" for name in ("fd", *inception - {"fid"})}
    assert {metric.key for metric in Dino().metrics.values()} == dino
    clip = Letters().metrics
    assert (clip[ALIGNMENT].key, clip[KID].key) == ("clip_score", "kid[clip-vit-large-patch14]")
    assert {metric.judge for metric in clip.values()} == {"clip-vit-large-patch14"}


def test_every_judge_stands_against_its_own_alignment_or_else_the_first(published):
    results, written, _ = published
    assert pareto_pairs(results.metrics.values()) == PAIRS
    assert read_metrics(written, "here") == results.metrics
    assert _pareto_first(results)[:2] == ["align[tiny]", "clip_score"]
    assert pareto_pairs([Colours().metrics[FRECHET]]) == []  # nobody reads


def test_the_best_cell_is_the_lowest_distance_and_the_highest_alignment(published):
    results, *_ = published
    for key, choose in (
        ("fid", min),
        ("kid", min),
        ("mind", min),
        ("fd_dinov2", min),
        ("clip_score", max),
        ("precision", max),
    ):
        assert best(results, key)[2] == choose(cell.metrics[key] for cell in results.cells)


def test_an_ablation_of_published_numbers_is_drawn_and_tabulated(published, tmp_path):
    _, written, _ = published
    comparison = compare_curves("Encoder", "w", [curve_of_weights("T5", written, "dynamic")], written)
    head = ablation_table(comparison).splitlines()[0]
    assert re.findall(r"`(.+?)`", head) == list(dict.fromkeys(key for pair in PAIRS for key in pair))
    plot_guidance_ablation(comparison, {}, tmp_path / "weights.png")
    alone = {value: written | {"cells": [written["cells"][1]]} for value in (0.0, 0.2)}
    across = compare_curves("Noise", "aug_level", [curve_across("with", alone, "dynamic")], written)
    plot_ablation_across(across, tmp_path / "across.png")
    for name in ("weights", "across"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.height > 1000  # two rows of panels


def test_an_ablation_in_which_nobody_reads_has_its_distances_in_the_table_and_says_so(tmp_path):
    _, written = evaluated(tmp_path / "out", [Colours()], checker=NoChecker())
    comparison = compare_curves("Encoder", "w", [curve_of_weights("T5", written, "dynamic")], written)
    assert "| `fid` |" in ablation_table(comparison)
    with pytest.raises(UserError, match="Encoder: the evaluations measured no alignment"):
        plot_guidance_ablation(comparison, {}, tmp_path / "plot.png")


def test_a_comparison_of_published_numbers_draws_the_pairs_of_the_report(published, tmp_path, monkeypatch):
    results, _, out = published
    drawn = []
    monkeypatch.setattr("imagen.evaluation.report.pareto_plot._pareto_panel", lambda *given: drawn.append(given[3:5]))
    write_comparison(load_side(out, "one"), load_side(out, "other"), tmp_path)
    assert drawn == PAIRS
    drawn.clear()
    plot_pareto(results, tmp_path / "pareto.png")
    assert drawn == PAIRS


def results_with(*metrics, **judges):
    cells = [{"metrics": {metric.key: 1.0 for metric in metrics}}]
    return {"judges": judges, "cells": cells, "metrics": [asdict(metric) for metric in metrics]}


FILES = {"files": {"weights": INCEPTION_SHA256}}
HONEST = (
    (Metric("fid", "inception", FRECHET, True), {"inception": FILES}),
    (Metric("fd[a]", "a", FRECHET, True), {}),
    (Metric("kid[a]", "a", KID, True), {}),
    (Metric("fd_sscd", "sscd", FRECHET, True), {}),
    (Metric("align[clip:0123abcd]", "clip:0123abcd", ALIGNMENT, False), {}),
    (Metric("checker[all]", None, CHECKER, False), {}),
)
BORROWED = (
    Metric("fid", "inception", FRECHET, True),  # other files than the published ones
    Metric("FID", "a", FRECHET, True),
    Metric("clip_score", "shapes-judge-a", ALIGNMENT, False),
    Metric("CLIP score", "a", ALIGNMENT, False),
    Metric("kid", "a", KID, True),
    Metric("mind", "a", MIND, True),
    Metric("precision", "a", "precision", False),
    Metric("align[CLIP ViT-L/14]", "CLIP ViT-L/14", ALIGNMENT, False),
    Metric("fd[Inception-v3]", "Inception-v3", FRECHET, True),
    Metric("fid", None, CHECKER, False),
)


@pytest.mark.parametrize(("metric", "judges"), HONEST)
def test_honest_names_of_somebody_elses_results_are_read(metric, judges):
    assert read_metrics(results_with(metric, **judges), "here") == {metric.key: metric}


@pytest.mark.parametrize("metric", BORROWED)
def test_borrowed_names_of_somebody_elses_results_are_refused(metric):
    for judges in ({}, {str(metric.judge): {"files": {"weights": "0" * 64}}}):
        with pytest.raises(UserError, match=r"here: .* could be taken for a published number, which it is not"):
            read_metrics(results_with(metric, **judges), "here")


def test_results_that_do_not_say_what_a_number_is_are_refused(tmp_path, published):
    _, written, _ = published
    broken = {
        "metrics does not say what 'fid' is": [m for m in written["metrics"] if m["key"] != "fid"],
        "metrics does not say what": None,
        "the field 'axis' is missing": [{"key": "a", "judge": None, "lower_is_better": True}],
        "a JSON object is expected": ["fid"],
        "key is int": [{"key": 1, "judge": None, "axis": "fd", "lower_is_better": True}],
    }
    for complaint, metrics in broken.items():
        (tmp_path / "results.json").write_text(json.dumps(written | {"metrics": metrics}))
        with pytest.raises(UserError, match=complaint):
            read_results(tmp_path)
