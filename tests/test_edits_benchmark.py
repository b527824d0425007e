"""benchmarks/edits.py: the seam on pictures whose step is known, other shapes for the checker, and all of it, small."""

import re
import sys

import numpy as np
import pytest
import torch

from imagen.data.pixels import to_uint8
from imagen.places import ROOT
from imagen.shapes import check, draw, sample_scene

sys.path.insert(0, str(ROOT / "benchmarks"))

import edits
import edits_page

RIGHT_HALF = torch.arange(64).expand(64, 64) >= 32


@pytest.fixture(scope="module")
def bench():
    return edits.Bench(2, steps=2)


def scenes(count):
    return [sample_scene(1, index, "held_out") for index in range(count)]


def test_the_step_across_the_edge_and_that_of_the_other_columns():
    pictures = np.full((2, 8, 5, 3), 10, dtype=np.uint8)
    pictures[0, :, 3:] = 30  # the first picture steps at column 3
    pictures[1, :4, 4:] = 20  # the second at column 4, in half of its rows
    across, elsewhere = edits.steps_between_columns(pictures, 3)
    assert across.tolist() == [20, 0]
    assert elsewhere.tolist() == pytest.approx([0, 5 / 3])


def test_a_row_counts_the_kept_levels_that_changed_and_none_of_the_others():
    drawn = scenes(4)
    true = np.stack([draw(scene, 64) for scene in drawn])
    pictures = true.copy()
    pictures[0, 5, 31, 1] ^= 1  # the last kept column
    pictures[1, 7, 32] ^= 1  # the first new one
    cells = edits.seam_row("resample 1", pictures, true, RIGHT_HALF, drawn).split(" | ")
    assert cells[4] == "1"
    assert cells[5].startswith("1.000 [")


@pytest.mark.parametrize("size", edits.SIZES)
def test_true_pictures_of_other_shapes_are_right_and_those_of_other_captions_wrong(size):
    drawn = scenes(20)
    framed = [edits.framed(scene, size) for scene in drawn]
    assert {picture.shape for picture in framed} == {(*size, 3)}
    right = [one.all_correct for one in edits.verdicts(framed, drawn)]
    shifted = [one.all_correct for one in edits.verdicts(framed[1:], drawn[:-1])]
    assert right == [True] * 20
    assert shifted == [False] * 19


def test_a_border_that_is_not_flat_stays_so_in_the_square():
    scene = scenes(1)[0]
    picture = edits.framed(scene, (48, 64))
    picture[:, 32:][:1] = picture[:, 32:][-1:] = (255, 0, 255)
    assert edits.squared(picture).shape == (64, 64, 3)
    assert not check(edits.squared(picture), scene.description).parts["background"]


def test_the_page_shows_what_is_given_and_what_is_kept(bench):
    page = edits_page.Page(bench.model, edits.SIZES, steps=1)
    sheet = np.asarray(page.draw())
    assert sheet.shape[1] == edits_page.WIDTH
    given = to_uint8(edits_page.scene_of(edits_page.GIVEN, 0, 64)[None])[0].repeat(2, axis=0).repeat(2, axis=1)
    top, step = edits_page.TITLE, 128 + edits_page.GAP
    shown = [sheet[top : top + 128, step * i : step * i + 128][1:-1, 1:-1] for i in range(6)]  # without their frames
    inside = given[1:-1, 1:-1]
    assert (shown[0] == inside).all()
    for made in shown[2:]:
        assert (made[:63] == inside[:63]).all()
        assert (made[63:] != inside[63:]).any()
    unchanged = sheet[page.anew().height + top :][1:127, 1:127]  # strength 0
    assert (unchanged == inside).all()


def test_inpainting_keeps_every_level_at_every_stage(bench, capsys):
    edits.inpainting(bench)
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| resample")]
    assert [row[4] for row in rows] == ["0"] * 2 * (len(edits.RESAMPLES) + 1)
    assert len({row[1] for row in rows}) > len(edits.RESAMPLES)  # they are not the same pictures


def test_the_radius_of_the_largest_object():
    drawn = scenes(8)
    for scene in drawn:
        assert edits.largest(draw(scene, 64)) == pytest.approx(max(item.radius for item in scene.objects), abs=0.02)
    assert edits.largest(np.full((64, 64, 3), 255, dtype=np.uint8)) == 0


def test_the_negative_prompt_makes_circles_smaller(capsys):
    edits.steering(edits.Bench(1, steps=8), 4)
    assert capsys.readouterr().out.endswith("smaller in 4 of 4\n")


def test_there_is_a_row_for_each_size(bench, capsys):
    edits.sizes(bench, 2)
    rows = re.findall(r"^\| (\d+) × (\d+) \| 1\.000 \[.*", capsys.readouterr().out, flags=re.MULTILINE)
    assert [(int(height), int(width)) for height, width in rows] == list(edits.SIZES)
