"""The section "Nearest training pictures" of a report."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from imagen.errors import UserError
from imagen.evaluation.prompts.prompt_set import shapes_prompts
from imagen.evaluation.report.copies import HEADING, copies_lines, copies_table, write_copies
from imagen.evaluation.report.html import as_html
from imagen.evaluation.report.report import as_json, as_markdown
from imagen.evaluation.sweep.plan import Curve, Plan
from imagen.evaluation.sweep.reference import ShapesReference
from imagen.shapes import draw, sample_scene

from .stand_ins import DrawingSampler, plan
from .test_sweep import evaluation, files

TRAINING = ShapesReference(count=80, seed=9, split="train")
REAL = ShapesReference(count=120, seed=77)


class Copier:
    """Draws the scene of the prompt at weight 1, and training pictures at higher weights."""

    def __init__(self, prompts):
        self.prompts = prompts

    def __call__(self, captions, picture_ids, guidance_weight):
        if guidance_weight == 1:
            return np.stack([self.prompts.draw_truth(i, 40) for i in picture_ids])
        return np.stack([draw(sample_scene(TRAINING.seed, i, "train"), 40) for i in picture_ids])


@pytest.fixture
def no_report(monkeypatch):
    monkeypatch.setattr("imagen.evaluation.report.report.write_report", lambda results, out: None)


@pytest.fixture(scope="session")
def looked(tmp_path_factory, judge):
    """A finished evaluation of twelve prompts and two weights, with training pictures: its results and its folder."""
    prompts, out = shapes_prompts(count=12, seed=5), tmp_path_factory.mktemp("copies")
    made = evaluation(out, [judge], prompts, training=TRAINING, reference=REAL)
    return made.run(Plan({"copier": Curve(Copier(prompts), {})}, [1, 3])), out


def test_copies_are_counted_in_the_table_and_in_the_json(looked):
    results, out = looked
    found = json.loads((out / "results.json").read_text())
    assert found["training"] == TRAINING.identity
    section = found["nearest_training_pictures"]
    assert section["training_pictures"] == 80
    assert section["real_pictures"] == 120
    drawn, copied = section["cells"]
    assert (drawn["curve"], drawn["guidance_weight"], copied["guidance_weight"]) == ("copier", 1, 3)
    assert (copied["distance"], copied["copies"]["estimate"]) == (0, 1)
    assert drawn["distance"] > 0.02
    assert drawn["copies"]["estimate"] < 0.5
    head, real, first, last = copies_table(results, results.copies)
    assert real[:2] == ["real, not trained on", str(120 - int(results.copies.repeated.sum()))]
    assert real[head.index("copies")].startswith("0.0")  # about 5 %, with its interval
    assert (first[0], last[0]) == ("w = 1", "w = 3")
    assert last[head.index("copies")].startswith("1.000 [0.758, 1.000]")


def test_the_section_is_in_both_reports_with_its_pictures(looked):
    results, out = looked
    text, page = as_markdown(results), (out / "report.html").read_text(encoding="utf-8")
    assert f"## {HEADING}" in text
    assert f"<h2>{HEADING}</h2>" in page
    for line in copies_lines(results.copies):
        assert line in text
    for row in copies_table(results, results.copies):
        assert all(cell in page for cell in row)
    pictures = ("nearest.png", "nearest-copier.png", "nearest-alike.png")
    assert all(f"]({name})" in (out / "report.md").read_text() for name in pictures)
    assert len(re.findall("<img ", page)) == 4 + len(pictures)  # Pareto plot, right answers, metrics, grid
    for name in pictures:
        with Image.open(out / name) as image:
            assert (np.asarray(image.convert("RGB")) < 250).any(axis=-1).mean() > 0.01


def test_the_pictures_show_the_generated_and_the_training_picture(looked):
    results, out = looked
    with Image.open(out / "nearest-copier.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    match = results.copies.shown["copier-w3.0"][0]
    assert match.copy
    np.testing.assert_array_equal(match.picture, match.near[0].picture)
    colours = {tuple(pixel) for pixel in pixels.reshape(-1, 3)}
    for cell in ("copier-w1.0", "copier-w3.0"):
        for shown in results.copies.shown[cell]:
            assert tuple(shown.picture[20, 20]) in colours
            assert tuple(shown.near[2].picture[20, 20]) in colours


def test_pictures_written_again_are_equal_and_those_of_an_earlier_run_are_removed(looked, tmp_path):
    results, out = looked
    written = write_copies(results, tmp_path)
    assert [name for name, _ in written if (tmp_path / name).read_bytes() != (out / name).read_bytes()] == []
    without = replace(results, copies=None)
    assert write_copies(without, tmp_path) == []
    assert not list(tmp_path.iterdir())
    assert HEADING not in as_markdown(without)
    assert HEADING not in as_html(without, [], [], tmp_path)
    assert "nearest_training_pictures" not in as_json(without)


def test_cells_of_an_earlier_version_are_missing_and_the_report_says_so(looked, tmp_path):
    results, _ = looked
    copies, old = results.copies, "copier-w3.0"
    kept = {part: {k: v for k, v in getattr(copies, part).items() if k != old} for part in ("numbers", "shown")}
    part = replace(results, copies=replace(copies, **kept, missing=[old]))
    assert "Not compared: 1 of the cells. An earlier version" in as_markdown(part)
    assert len(copies_table(part, part.copies)) == 3
    assert len(write_copies(part, tmp_path)) == 3
    none = replace(copies, numbers={}, shown={}, neighbours={}, alike=[], missing=["copier-w1.0", old])
    assert write_copies(replace(results, copies=none), tmp_path) == []
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_report")
def test_training_pictures_change_no_number_and_no_block(tmp_path, judge, prompts):
    first = evaluation(tmp_path / "a", [judge], prompts, reference=REAL).run(plan(DrawingSampler(prompts)))
    sampler = DrawingSampler(prompts)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    again = evaluation(tmp_path / "b", [judge], prompts, reference=REAL, training=TRAINING).run(plan(sampler))
    assert sampler.made == []
    assert again.cells == first.cells
    assert files(tmp_path / "a/blocks") == files(tmp_path / "b/blocks")
    assert first.copies is None
    assert again.copies.numbers.keys() == {result.cell.name for result in again.cells}


def test_a_training_set_that_is_too_small_is_found_out_with_the_first_block(tmp_path, judge, prompts, sampler):
    tiny = evaluation(tmp_path, [judge], prompts, training=ShapesReference(count=3, seed=9, split="train"))
    with pytest.raises(UserError, match=r"metrics\.training has 3 different pictures; at least 4 are needed"):
        tiny.run(plan(sampler))
    assert len(sampler.made) == 5
