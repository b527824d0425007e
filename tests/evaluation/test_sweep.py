import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from imagen.errors import UserError
from imagen.evaluation.evaluation import Evaluation
from imagen.evaluation.judges.checker import NoChecker, ShapesChecker
from imagen.evaluation.judges.clip import ClipJudge
from imagen.evaluation.prompts.prompt_set import list_prompts, shapes_prompts
from imagen.evaluation.sweep.plan import Curve, Plan, check_weights
from imagen.evaluation.sweep.reference import ShapesReference

from .stand_ins import DrawingSampler, clip_folder, plan


def evaluation(out, judges, prompts, **changes):
    settings = {
        "checker": ShapesChecker(),
        "reference": ShapesReference(count=20, seed=77),
        "block_size": 5,
        "seed": 0,
        "grid_prompts": 3,
    } | changes
    return Evaluation(judges, prompts=prompts, out=out, **settings)


@pytest.fixture
def no_report(monkeypatch):
    """The report has its own tests; without it a run takes milliseconds."""
    monkeypatch.setattr("imagen.evaluation.report.report.write_report", lambda results, out: None)


@pytest.mark.usefixtures("no_report")
class TestSweep:
    def test_every_cell_samples_every_prompt_once_on_the_same_ids(self, tmp_path, judge, prompts, sampler):
        evaluation(tmp_path, [judge], prompts).run(plan(sampler))
        for weight in (1, 4):
            for label in ("dynamic", "static"):
                ids = [i for i, w, curve in sampler.made if (w, curve) == (weight, label)]
                assert ids == list(range(12))
        assert len(sampler.made) == 4 * 12

    def test_a_second_run_samples_nothing_and_finds_the_same(self, tmp_path, judge, prompts, sampler):
        first = evaluation(tmp_path, [judge], prompts).run(plan(sampler))
        sampler.made.clear()
        again = evaluation(tmp_path, [judge], prompts).run(plan(sampler))
        assert sampler.made == []
        assert again.cells == first.cells
        assert again.controls == first.controls
        assert all(torch.equal(again.pictures[name], first.pictures[name]) for name in first.pictures)

    @pytest.mark.usefixtures("steady_clock")
    def test_a_killed_run_goes_on_and_leaves_the_files_of_an_unbroken_one(self, tmp_path, judge, prompts, sampler):
        class KilledError(Exception):
            pass

        class Killed(DrawingSampler):
            def __call__(self, *arguments, **options):
                if len(self.made) >= 17:
                    raise KilledError
                return super().__call__(*arguments, **options)

        killed = Killed(prompts)

        evaluation(tmp_path / "whole", [judge], prompts).run(plan(DrawingSampler(prompts)))
        with pytest.raises(KilledError):
            evaluation(tmp_path / "broken", [judge], prompts).run(plan(killed))
        evaluation(tmp_path / "broken", [judge], prompts).run(plan(sampler))
        assert len(killed.made) + len(sampler.made) == 4 * 12  # nothing lost, nothing twice
        assert files(tmp_path / "broken/blocks") == files(tmp_path / "whole/blocks")

    @pytest.mark.usefixtures("steady_clock")
    @pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"junk"), lambda path: path.unlink()])
    def test_a_damaged_block_is_made_again_and_only_that_one(self, tmp_path, judge, prompts, sampler, damage):
        evaluation(tmp_path, [judge], prompts).run(plan(sampler))
        before = files(tmp_path / "blocks")
        (path,) = (tmp_path / "blocks").glob("*/static-w4.0/block-00001.safetensors")
        damage(path)
        sampler.made.clear()
        evaluation(tmp_path, [judge], prompts).run(plan(sampler))
        assert [i for i, _, _ in sampler.made] == [5, 6, 7, 8, 9]
        assert files(tmp_path / "blocks") == before

    def test_more_prompts_and_weights_reuse_what_is_there(self, tmp_path, judge, prompts, sampler):
        evaluation(tmp_path, [judge], shapes_prompts(count=10, seed=5)).run(plan(sampler))
        sampler.made.clear()
        evaluation(tmp_path, [judge], prompts).run(plan(sampler, [1, 2, 4]))
        old = [i for i, weight, _ in sampler.made if weight != 2]
        assert sorted(set(old)) == [10, 11]
        assert len(sampler.made) == 2 * 12 + 4 * 2

    @pytest.mark.parametrize("change", ["curve", "seed", "judge", "checker", "prompts"])
    def test_whatever_changes_the_numbers_misses_the_old_blocks(self, tmp_path, judge, prompts, sampler, change):
        evaluation(tmp_path, [judge], prompts).run(plan(sampler))
        sampler.made.clear()
        changed = {"judges": [judge], "prompts": prompts}
        if change == "judge":
            changed["judges"] = [ClipJudge(clip_folder(tmp_path / "clip", seed=1), "tiny", device="cpu")]
        elif change == "prompts":
            changed["prompts"] = sampler.prompts = shapes_prompts(count=12, seed=6)
        elif change != "curve":
            changed[change] = {"seed": 1, "checker": NoChecker()}[change]
        again = plan(sampler)
        if change == "curve":
            again.curves["dynamic"] = replace(again.curves["dynamic"], identity={"percentile": 0.9})
        evaluation(tmp_path, **changed).run(again)
        # The static cells do not depend on what the other curve is.
        assert len(sampler.made) == (2 if change == "curve" else 4) * 12

    def test_the_block_size_changes_no_number(self, tmp_path, judge, prompts, sampler):
        small = evaluation(tmp_path / "a", [judge], prompts, block_size=4).run(plan(sampler))
        large = evaluation(tmp_path / "b", [judge], prompts, block_size=100).run(plan(sampler))
        for one, other in zip(small.cells, large.cells, strict=True):
            assert one.metrics == pytest.approx(other.metrics, rel=1e-4)

    def test_controls_frame_the_cells(self, tmp_path, judge, prompts, sampler):
        results = evaluation(tmp_path, [judge], prompts).run(plan(sampler, [1, 1000]))
        assert results.controls["ground-truth"]["checker[all]"] == 1
        assert results.controls["noise"]["checker[all]"] == 0
        assert results.controls["noise"]["fd[tiny]"] > results.controls["ground-truth"]["fd[tiny]"]
        assert set(results.controls["shuffled-captions"]) == {"align[tiny]"}
        low, high = results.curve("static")
        assert low.metrics["checker[all]"] < high.metrics["checker[all]"] == 1

    def test_prompts_without_answers_have_no_ceiling_and_no_checker(self, tmp_path, judge):
        prompts = list_prompts(["a cat", "a dog", "a house"])

        def noise(captions, picture_ids, guidance_weight):
            return np.random.default_rng(picture_ids[0]).integers(0, 256, (len(captions), 16, 16, 3), dtype=np.uint8)

        results = evaluation(tmp_path, [judge], prompts).run(Plan({"none": Curve(noise, {})}, [1, 4]))
        assert set(results.controls) == {"noise", "shuffled-captions"}
        names = {f"{axis}[tiny]" for axis in ("fd", "kid", "mind", "cmmd", "align", "retrieval1")}
        assert set(results.metric_names) == names

    def test_a_reference_that_cannot_be_read_is_found_out_with_the_first_block(self, tmp_path, judge, prompts, sampler):
        class Damaged(ShapesReference):
            def picture(self, index, resolution):
                raise UserError("picture 7 is damaged")

        with pytest.raises(UserError, match="picture 7 is damaged"):
            evaluation(tmp_path, [judge], prompts, reference=Damaged(count=20, seed=77)).run(plan(sampler))
        assert len(sampler.made) == 5

    def test_the_reference_is_looked_at_once(self, tmp_path, clip, prompts, sampler):
        judge = ClipJudge(clip, "tiny", device="cpu")
        evaluation(tmp_path, [judge], prompts).run(plan(sampler))
        judge.image_features = lambda pixels: pytest.fail("features were computed again")
        evaluation(tmp_path, [judge], prompts).run(plan(sampler))
        with pytest.raises(pytest.fail.Exception, match="computed again"):
            evaluation(tmp_path, [judge], prompts, reference=ShapesReference(21, seed=77)).run(plan(sampler))

    def test_a_calculator_that_disagrees_stops_the_evaluation(self, tmp_path, judge, prompts, sampler, monkeypatch):
        monkeypatch.setattr("imagen.evaluation.statistics.audit.frechet_by_torch_fidelity", lambda *features: 1.0)
        with pytest.raises(AssertionError, match="differ between calculators"):
            evaluation(tmp_path, [judge], prompts).run(plan(sampler))

    def test_the_time_that_was_not_sampling_is_written(self, tmp_path, judge, prompts, sampler):
        evaluation(tmp_path, [judge], prompts).run(plan(sampler))
        timing = json.loads((tmp_path / "timing.json").read_text())
        assert timing["pictures_made"] == 4 * 12 + 2 * 12  # cells and controls
        assert 0 < timing["share_not_sampling"] < 1


@pytest.mark.parametrize(
    ("weights", "complaint"),
    [
        ([], "empty"),
        ([1, float("nan")], "nan is not a finite"),
        ([float("inf")], "inf is not a finite"),
        ([-0.5, 1], "-0.5 is not a finite number of 0 or more"),
        ([1, 1.1e30], r"1.1e\+30 is not .* at most 1e\+30"),
        ([10**400], "is not .* at most"),
        ([1, 3, 1.0], "1 is given twice"),
        (["3"], "'3' is not"),
        ([True], "True is not"),
    ],
)
def test_wrong_weights_are_refused(weights, complaint):
    with pytest.raises(UserError, match=complaint):
        check_weights(weights)


def test_weights_are_sorted():
    assert check_weights([3, 1, 1.5, 0]) == [0, 1, 1.5, 3]


def test_wrong_settings_are_refused(tmp_path, judge, prompts, sampler):
    with pytest.raises(UserError, match="judges is empty"):
        evaluation(tmp_path, [], prompts)
    with pytest.raises(UserError, match="two judges are called 'tiny'"):
        evaluation(tmp_path, {"a": judge, "b": judge}, prompts)
    with pytest.raises(UserError, match=r"guidance\.curves is empty"):
        Plan({}, [1])
    with pytest.raises(UserError, match="block_size is 0"):
        evaluation(tmp_path, [judge], prompts, block_size=0).run(plan(sampler))
    with pytest.raises(UserError, match="at least 2 pictures"):
        ShapesReference(count=1, seed=0)


def test_a_sampler_that_gives_too_few_pictures_is_our_defect(tmp_path, judge, prompts, sampler):
    def too_few(captions, picture_ids, guidance_weight):
        return sampler("static", captions, picture_ids, guidance_weight)[:-1]

    with pytest.raises(AssertionError, match="gave 4 pictures for 5"):
        evaluation(tmp_path, [judge], prompts).run(Plan({"static": Curve(too_few, {})}, [1]))


def test_a_picture_does_not_depend_on_how_many_are_kept(tmp_path, judge, prompts, sampler, no_report):
    few = evaluation(tmp_path / "a", [judge], prompts, grid_prompts=2).run(plan(sampler))
    many = evaluation(tmp_path / "b", [judge], prompts, grid_prompts=8).run(plan(sampler))
    assert len(few.pictures["static-w4.0"]) == 2
    assert len(many.pictures["static-w4.0"]) == 8
    assert torch.equal(few.pictures["static-w4.0"], many.pictures["static-w4.0"][:2])
    assert replace(few.cells[0], metrics={}) == replace(many.cells[0], metrics={})
    assert few.cells[0].metrics == many.cells[0].metrics


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.usefixtures("no_report")
def test_the_last_block_of_fewer_prompts_is_made_longer_not_again(tmp_path, judge, prompts, sampler):
    evaluation(tmp_path, [judge], shapes_prompts(count=7, seed=5)).run(plan(sampler))
    longer = evaluation(tmp_path, [judge], prompts).run(plan(sampler))
    assert len(sampler.made) == len(set(sampler.made)) == 4 * 12
    at_once = evaluation(tmp_path / "at once", [judge], prompts).run(plan(DrawingSampler(prompts)))
    for one, other in zip(longer.cells, at_once.cells, strict=True):
        assert one.metrics == pytest.approx(other.metrics, rel=1e-4)
    assert all(torch.equal(longer.pictures[name], at_once.pictures[name]) for name in longer.pictures)
