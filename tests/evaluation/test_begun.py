"""An evaluation that is started again in its folder resumes only if it is the same evaluation."""

import json
import re
from dataclasses import replace

import pytest

from imagen.errors import UserError
from imagen.evaluation.begun import FILE, keep_identity
from imagen.evaluation.judges.clip import ClipJudge
from imagen.evaluation.prompts.prompt_set import file_prompts, shapes_prompts
from imagen.evaluation.results.budget import Budget
from imagen.evaluation.sweep.reference import ShapesReference

from .stand_ins import clip_folder, plan
from .test_sweep import evaluation


@pytest.fixture
def begin(tmp_path, judge, prompts, sampler):
    """Begin or go on with an evaluation in one folder, with some things changed."""

    def begin(plan_of=None, judges=(judge,), prompts=prompts, **changes):
        keep_identity(evaluation(tmp_path / "out", list(judges), prompts, **changes), plan_of or plan(sampler))

    return begin


def longer(count):
    return shapes_prompts(count=count, seed=5)


def test_more_prompts_weights_and_curves_and_how_the_work_is_done_are_the_same_evaluation(begin, sampler):
    begin()
    begin()
    begin(prompts=longer(20))
    begin(prompts=longer(6))
    begin(prompts=longer(20), budget=Budget(10, 4), block_size=3, grid_prompts=1)
    begin(plan(sampler, weights=(1, 4, 9)))
    begin(plan(sampler, labels=("dynamic", "static", "third")))
    begin(plan(sampler, labels=("third",)))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"seed": 2}, "was begun with seed=0 and cannot resume with 2; give another name=..."),
        ({"prompts": shapes_prompts(count=12, seed=6)}, "prompts.seed=5 and cannot resume with 6"),
        ({"reference": ShapesReference(count=21, seed=77)}, "reference.count=20 and cannot resume with 21"),
    ],
)
def test_another_evaluation_is_refused_with_both_values(begin, changes, expected):
    begin()
    with pytest.raises(UserError, match=re.escape(expected)):
        begin(**changes)


def test_another_cascade_under_the_same_label_is_refused_also_when_it_was_left_out_meanwhile(begin, sampler):
    begin()
    begin(plan(sampler, labels=("static",)))
    with pytest.raises(UserError, match=r"curves\.dynamic\.cascade='cascade' and cannot resume with 'other'"):
        begin(plan(sampler, labels=("dynamic",), cascade="other"))


def test_other_curves_only_or_another_moved_weight_are_another_evaluation(begin, sampler):
    begin()
    with pytest.raises(UserError, match=re.escape("curves=['dynamic', 'static'] and cannot resume with ['a', 'b']")):
        begin(plan(sampler, labels=("a", "b")))
    with pytest.raises(UserError, match="weight_of='base stage' and cannot resume with 'super-resolution stages'"):
        begin(replace(plan(sampler), weight_of="super-resolution stages"))


def test_another_judge_is_refused(begin, tmp_path):
    begin()
    other = ClipJudge(clip_folder(tmp_path / "other", seed=1), "tiny", device="cpu", batch_size=8)
    with pytest.raises(UserError, match=r"was begun with judges\.tiny\..* and cannot resume"):
        begin(judges=[other])


def test_other_prompts_in_a_file_of_the_same_name_are_refused(begin, tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("a red circle\na blue ring\n")
    begin(prompts=file_prompts(file))
    file.write_text("a red circle\na blue ring\na green cross\n")
    begin(prompts=file_prompts(file))
    file.write_text("a red circle\na black ring\na green cross\n")
    with pytest.raises(UserError, match="was begun with texts_sha256 of 3 prompts="):
        begin(prompts=file_prompts(file))


def test_results_of_an_earlier_version_are_not_overwritten_by_another_evaluation(begin, run, tmp_path):
    _, finished = run
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.json").write_bytes((finished / "results.json").read_bytes())
    with pytest.raises(UserError, match="was begun with seed=0 and cannot resume with 3"):
        begin(seed=3)
    begin()
    assert json.loads((tmp_path / "out" / FILE).read_text())["seed"] == 0


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("compare.html", "", "holds compare.html, which does not belong to an evaluation"),
        (FILE, "[]", "does not say to which evaluation it belongs"),
        (FILE, '{"curves": [], "seed": 0}', "does not say to which evaluation it belongs"),
        (FILE, '{"curves": {}, "prompts_count": "1"}', "does not say to which evaluation it belongs"),
        (FILE, '{"curves": {}, "seed": "\\u001b[2J"}', r"seed='\x1b[2J' and cannot resume with 0"),
    ],
)
def test_something_else_in_the_folder_is_refused(begin, tmp_path, name, content, expected):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text(content)
    with pytest.raises(UserError, match=re.escape(expected)):
        begin()
    assert (tmp_path / "out" / name).read_text() == content
