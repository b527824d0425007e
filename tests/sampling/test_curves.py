"""Curves of an evaluation: named changes of the sampling settings, and first stages that are sampled only once."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from small_stages import export_random_stage, export_readers_of_shapes_t5

import imagen.cascade.cascade
from imagen.commandline.roles import of_one_role
from imagen.data.pixels import to_uint8
from imagen.errors import UserError
from imagen.evaluation.sweep.blocks import save_atomically
from imagen.evaluation.sweep.shared_stages import SharedStages
from imagen.files import fingerprint, read_tensors
from imagen.sampling.configured import configured_settings
from imagen.sampling.curves import changed, make_plan
from imagen.sampling.opening import open_model
from imagen.stages.export import read_description
from imagen.text.sources import RememberedText

FAST = ["sampler.num_steps=2", "sr_sampler.num_steps=2", "cascade.device=cpu"]
CAPTIONS = ["a red circle above a blue square on a white background", "a green ring on a black background"]


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    return export_readers_of_shapes_t5(tmp_path_factory.mktemp("stages"))


@pytest.fixture
def compose_evaluation(compose_config, stages, tmp_path):
    cascade = f"cascade.stages=[{','.join(stages)}]"
    return lambda *overrides: compose_config("evaluate", *FAST, cascade, f"out={tmp_path}/out", *overrides)


@pytest.fixture
def sampled(monkeypatch):
    """How many pictures each stage was asked for."""
    counts = Counter()
    real = imagen.cascade.cascade.sample_images

    def counting(model, given, *others):
        counts[model.name] += len(given["text"])
        return real(model, given, *others)

    monkeypatch.setattr(imagen.cascade.cascade, "sample_images", counting)
    return counts


def pictures(plan, label, weight):
    return plan.curves[label].sample(CAPTIONS, [3, 8], guidance_weight=float(weight)).pictures


def test_the_super_resolution_sweep_samples_the_base_stage_once_also_after_a_restart(compose_evaluation, sampled):
    plan = make_plan(compose_evaluation("guidance=sweep_sr"))
    assert len(plan.cells) == 9 * 4
    first = [pictures(plan, label, weight) for label in ("aug 0", "aug 0.3") for weight in (1, 18)]
    assert sampled == {"base": 2, "sr1": 8}
    again = pictures(make_plan(compose_evaluation("guidance=sweep_sr")), "aug 0.3", 18)
    assert sampled == {"base": 2, "sr1": 10}
    assert np.array_equal(again, first[-1])
    assert not np.array_equal(first[0], first[2])  # aug_level
    assert not np.array_equal(first[0], first[1])  # weight


@pytest.mark.parametrize("times", [1, 2])
def test_shared_base_samples_give_the_pictures_of_the_whole_cascade(compose_evaluation, times):
    config = compose_evaluation("guidance=sweep_sr", "base_guidance=2")
    plan = make_plan(config)
    found = [pictures(plan, "aug 0.2", 5) for _ in range(times)][-1]
    whole = compose_evaluation("cascade.aug_level=0.2")
    settings = configured_settings(whole, ["base", "sr1"], [2.0, 5.0])
    assert np.array_equal(found, to_uint8(open_model(whole).sample(CAPTIONS, [3, 8], settings, 0)[-1]))


def test_the_seconds_of_shared_stages_count_for_every_cell_also_after_a_restart(compose_evaluation, monkeypatch):
    """The base stage takes 3 seconds wherever it is sampled, the other one half a second."""
    now, real = [0.0], imagen.cascade.cascade.sample_images

    def slow(model, *others):
        now[0] += 3 if model.name == "base" else 0.5
        return real(model, *others)

    monkeypatch.setattr(imagen.cascade.cascade, "sample_images", slow)
    for module in ("sampling.curves", "evaluation.sweep.shared_stages"):
        monkeypatch.setattr(f"imagen.{module}.perf_counter", lambda: now[0])

    def timed(weight):
        curve = make_plan(compose_evaluation("guidance=sweep_sr")).curves["aug 0"]
        return curve.sample(CAPTIONS, [3, 8], guidance_weight=float(weight))

    assert [timed(weight).seconds for weight in (1, 5, 5)] == [3.5, 3.5, 3.5]
    assert now[0] == 3 + 3 * 0.5  # sampled once
    assert timed(1).device == "cpu"
    alone = make_plan(compose_evaluation("guidance=sweep")).curves["dynamic"]
    assert alone.sample(CAPTIONS, [3, 8], guidance_weight=1.0).seconds == 3.5


def test_shared_pictures_of_an_earlier_version_have_no_seconds_and_are_not_made_again(
    compose_evaluation, sampled, tmp_path
):
    plan = make_plan(compose_evaluation("guidance=sweep_sr"))
    before = pictures(plan, "aug 0", 3)
    (path,) = (tmp_path / "out" / "stages").glob("*.safetensors")
    save_atomically(read_tensors(path)[1], {}, path)
    again = plan.curves["aug 0"].sample(CAPTIONS, [3, 8], guidance_weight=3.0)
    assert again.seconds is None
    assert np.array_equal(again.pictures, before)
    assert sampled["base"] == 2


def test_captions_are_embedded_before_the_clock_starts(compose_evaluation, monkeypatch):
    embedded, looks = [], []
    real = RememberedText.embed
    monkeypatch.setattr(RememberedText, "embed", lambda self, texts: embedded.append(texts) or real(self, texts))
    monkeypatch.setattr("imagen.sampling.curves.perf_counter", lambda: looks.append(len(embedded)) or 0.0)
    pictures(make_plan(compose_evaluation()), "dynamic", 1)
    assert looks[0] == 1
    assert embedded[0] == CAPTIONS


def test_passes_of_each_stage_follow_steps_and_weights(compose_evaluation):
    fast = ("sr_guidance=1", "sr_sampler.num_steps=3")
    plan = make_plan(compose_evaluation("guidance=sweep_steps", *fast))
    assert {label: curve.passes(3.0) for label, curve in plan.curves.items()} == {
        f"{steps} steps": {"base": 2 * steps, "sr1": 3} for steps in (4, 8, 16, 32, 64)
    }
    assert plan.curves["8 steps"].passes(1.0) == {"base": 8, "sr1": 3}
    heun = "+guidance.curves={heun: {sampler: {_target_: imagen.diffusion.samplers.HeunSampler, num_steps: 4}}}"
    assert make_plan(compose_evaluation("guidance=curves", heun)).curves["heun"].passes(3.0)["base"] == 14


def test_a_curve_of_a_student_stands_beside_those_of_its_teacher(compose_evaluation, stages, tmp_path):
    """As conf/guidance/sweep_steps.yaml says it."""
    said = json.loads((Path(stages[0]) / "config.json").read_text())
    denoiser = said["denoiser"] | {"network": said["denoiser"]["network"] | {"guidance": True}}
    conditioner = {
        "_target_": "imagen.stages.distillation.guidance_conditioner.GuidanceConditioner",
        "others": {"_target_": "imagen.stages.conditioners.TextConditioner"},
        "up_to": 4.0,
    }
    export_random_stage(
        tmp_path / "student", "base", 8, None, text=said["text"], denoiser=denoiser, conditioner=conditioner
    )
    student = (
        f"+guidance.curves.student={{cascade: {{stages: [{tmp_path / 'student'}, {stages[1]}]}}, "
        "sampler: {_target_: imagen.diffusion.samplers.DDIMSampler, num_steps: 8}}"
    )
    plan = make_plan(compose_evaluation("guidance=sweep_steps", "guidance.weights=[1,3]", student))
    assert plan.curves["student"].passes(3.0) == {"base": 8, "sr1": 4}
    one_by_one = make_plan(
        compose_evaluation(
            "guidance=sweep_steps", "guidance.weights=[1,3]",
            f"+guidance.curves.student.cascade.stages=[{tmp_path / 'student'},{stages[1]}]",
            "+guidance.curves.student.sampler._target_=imagen.diffusion.samplers.DDIMSampler",
            "+guidance.curves.student.sampler.num_steps=8",
        )
    )  # fmt: skip
    assert one_by_one.identities == plan.identities
    assert plan.curves["8 steps"].passes(3.0) == {"base": 16, "sr1": 4}
    made = [pictures(plan, label, weight).tobytes() for label in ("student", "8 steps") for weight in (1, 3)]
    assert len(set(made)) == 4
    with pytest.raises(UserError, match=r"stage 'base': guidance weight 5: this stage was distilled with weights of 1"):
        make_plan(compose_evaluation("guidance=sweep_steps", "guidance.weights=[1,5]", student))
    own = student.replace("cascade:", "weights: [1, 3], cascade:")
    plan = make_plan(compose_evaluation("guidance=sweep_steps", "guidance.weights=[1,5]", own))
    assert [cell.guidance_weight for cell in plan.cells if cell.curve == "student"] == [1, 3]


def test_a_sweep_of_the_base_stage_shares_nothing_and_leaves_no_pictures_of_it(compose_evaluation, sampled, tmp_path):
    plan = make_plan(compose_evaluation("guidance=sweep"))
    pictures(plan, "dynamic", 1)
    pictures(plan, "static", 1)
    assert sampled["base"] == 4
    assert not (tmp_path / "out" / "stages").exists()


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["+guidance.curves.second.sampler.num_steps=0"], "num_steps"),
        (["+guidance.curves.second.base_guidance=2"], "the sweep moves this weight"),
        (["+guidance.curves.second.sr_guidance=-2"], "guidance weight is -2"),
        (["+guidance.curves.second.sr_guidance=much"], "sr_guidance='much' must be a finite number"),
        (["+guidance.curves.second.cascade.aug_level=none"], "aug_level='none' must be a finite number"),
        (["+guidance.curves.second.cascade.aug_level=2"], "aug_level"),
        (["+guidance.curves.second.guidance_rule.rescale=2"], "guidance rescale is 2"),
        (["guidance.weights=[1,1e39]"], "guidance weight 1e+39 is not"),
        ([f"+guidance.curves.{'x' * 101}={{}}"], "cannot name a file"),
        (["+guidance.curves.Dynamic={}"], "two labels name the file"),
    ],
)
def test_what_cannot_be_sampled_is_refused_before_the_curves_in_front_of_it_are(
    compose_evaluation, sampled, overrides, expected
):
    with pytest.raises(UserError) as caught:
        make_plan(compose_evaluation(*overrides))
    assert expected in str(caught.value)
    assert not sampled


def test_a_damaged_file_of_shared_pictures_is_made_again(compose_evaluation, sampled, tmp_path):
    plan = make_plan(compose_evaluation("guidance=sweep_sr"))
    before = pictures(plan, "aug 0", 3)
    (path,) = (tmp_path / "out" / "stages").glob("*.safetensors")
    path.write_bytes(b"junk")
    assert np.array_equal(pictures(plan, "aug 0", 3), before)
    assert sampled["base"] == 4


def test_only_beginnings_that_two_cells_have_are_shared(tmp_path):
    one, other = {"weights": "a"}, {"weights": "b"}
    shared = SharedStages(tmp_path, [[one, one, one], [one, one, other], [other, one, one]])
    assert shared.depth([one, one, other]) == 2
    assert shared.depth([other, one, one]) == 0


def test_a_curve_with_a_target_replaces_the_object_any_other_only_what_it_names(compose_evaluation):
    config = compose_evaluation("sampler=ddpm", "sampler.num_steps=9")
    ddim = changed(config, OmegaConf.create({"sampler": {"_target_": "x.DDIM", "num_steps": 4}}), "here")
    assert OmegaConf.to_container(ddim.sampler) == {"_target_": "x.DDIM", "num_steps": 4}
    fewer = changed(config, {"sampler": {"num_steps": 3}, "cascade": {"aug_level": 0.3}}, "here")
    assert (fewer.sampler.num_steps, fewer.sampler.gamma, fewer.cascade.aug_level) == (3, 0.0, 0.3)
    assert config.sampler.num_steps == 9
    assert changed(config, None, "here").sampler == config.sampler


def test_curves_of_your_own_are_given_on_the_command_line(compose_evaluation):
    plan = make_plan(
        compose_evaluation(
            "guidance=curves", "guidance.weights=[2]",
            "+guidance.curves={one step: {sampler: {num_steps: 1}}, three: {sampler: {num_steps: 3}}}",
            "+guidance.curves.static.thresholding._target_=imagen.diffusion.thresholding.StaticThresholding",
        )
    )  # fmt: skip
    assert [cell.name for cell in plan.cells] == ["one_step-w2.0", "three-w2.0", "static-w2.0"]
    assert not np.array_equal(pictures(plan, "one step", 2), pictures(plan, "three", 2))
    steps = [curve.identity["stages"][0]["sampler"]["num_steps"] for curve in plan.curves.values()]
    assert steps == [1, 3, 2]


def test_a_curve_may_have_weights_of_its_own(compose_evaluation):
    strong = "+guidance.curves.strong={weights: [8, 5], sampler: {num_steps: 3}}"
    plan = make_plan(compose_evaluation("guidance.weights=[1,3]", strong))
    assert [cell.name for cell in plan.cells] == ["dynamic-w1.0", "dynamic-w3.0", "strong-w5.0", "strong-w8.0"]


def test_every_rule_of_guidance_rules_moves_the_base_stage_alone(compose_evaluation):
    # Dynamic thresholding scales what is saturated, and so would undo a rescaling.
    config = compose_evaluation("guidance=rules", "guidance.weights=[1,3]", "sampler.num_steps=5", "thresholding=none")
    plan = make_plan(config)
    base, sr = ([curve["stages"][i]["guidance_rule"] for curve in plan.identities.values()] for i in (0, 1))
    assert len(base) == len({json.dumps(rule) for rule in base}) == 8
    assert all(rule == sr[0] for rule in sr)
    off = {pictures(plan, label, 1).tobytes() for label in plan.curves}
    assert len(off) == 1  # a weight of 1 is no guidance, whatever the rule
    assert len({pictures(plan, label, 3).tobytes() for label in plan.curves}) == 8


def test_autoguidance_joins_the_rules_with_a_weaker_stage(compose_evaluation, stages):
    weaker = f"guidance.weaker={stages[0]}"
    plan = make_plan(compose_evaluation("guidance=rules_and_weaker", weaker, "guidance.weights=[1,3]"))
    rule = plan.identities["autoguidance"]["stages"][0]["guidance_rule"]
    assert rule["sha256"] == read_description(Path(stages[0])).weights_sha256
    assert len(plan.curves) == 9


def rewrite(config, **changes):
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))


def test_a_stage_described_in_another_way_is_another_stage(compose_config, stages, tmp_path):
    """The weights are the same; what they are taken for is not."""
    folders = [shutil.copytree(stage, tmp_path / Path(stage).name) for stage in stages]
    overrides = ("guidance=sweep_sr", f"out={tmp_path}/out", f"cascade.stages=[{','.join(map(str, folders))}]")
    before = make_plan(compose_config("evaluate", *FAST, *overrides))
    first = pictures(before, "aug 0", 3)
    schedule = {"_target_": "imagen.diffusion.schedules.CosineSchedule", "log_snr_min": -3.0, "log_snr_max": 3.0}
    rewrite(folders[0] / "config.json", schedule=schedule)  # of the base stage, whose pictures are kept in out/stages
    after = make_plan(compose_config("evaluate", *FAST, *overrides))
    assert all(after.identities[label] != before.identities[label] for label in before.identities)
    assert not np.array_equal(pictures(after, "aug 0", 3), first)


def test_the_seed_of_the_cascade_is_part_of_what_a_curve_is(compose_evaluation):
    one, other = (make_plan(compose_evaluation("guidance=single", *more)) for more in ([], ["cascade.seed=1"]))
    assert one.identities != other.identities


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["+guidance.curves.x.seed=3"], r"guidance\.curves\.x\.seed: a curve may change weights, sampler, "),
        (["+guidance.curves.x.sampler.num_stepz=3"], r"guidance\.curves\.x\.sampler\.num_stepz: no such key"),
        (["+guidance.curves.x.base_guidance=3"], r"x\.base_guidance: the sweep moves this weight"),
        (["guidance.weight_of=seed"], "guidance.weight_of=seed: choose one of base_guidance, sr_guidance"),
        (["guidance=curves"], "guidance.curves is empty"),
        (["+guidance.curves={a/b: {}}"], "cannot name a file"),
        (["cascade.weights=best"], "cascade.weights=best: choose averaged or raw"),
        (["cascade.weights=raw"], "holds averaged weights only"),
        (["guidance.weights=[]"], "guidance.weights is empty"),
        (["+guidance.curves.x.weights=[]"], r"guidance\.curves\.x\.weights is empty"),
        (["+guidance.curves.x.weights=3"], r"guidance\.curves\.x\.weights=3 must be a list"),
    ],
)
def test_curves_that_cannot_be_are_refused(overrides, complaint, compose_evaluation):
    with pytest.raises(UserError, match=complaint):
        make_plan(compose_evaluation(*overrides))


def test_guidance_inside_an_interval_of_noise_is_a_choice_and_part_of_what_a_curve_is(compose_evaluation):
    def sweep(*overrides):
        plan = make_plan(compose_evaluation("guidance.weights=[3]", *overrides))
        return pictures(plan, "dynamic", 3), plan.identities["dynamic"]

    everywhere = ["guidance_rule.log_snr_min=-99", "guidance_rule.log_snr_max=99"]
    nowhere = ["guidance_rule.log_snr_min=98", "guidance_rule.log_snr_max=99"]
    always, always_is = sweep("sr_guidance=1")
    inside, inside_is = sweep("sr_guidance=1", "guidance_rule=interval", *everywhere)
    outside, outside_is = sweep("sr_guidance=1", "guidance_rule=interval", *nowhere)
    off = pictures(make_plan(compose_evaluation("guidance.weights=[1]", "sr_guidance=1")), "dynamic", 1)
    assert np.array_equal(inside, always)
    assert np.array_equal(outside, off)
    assert not np.array_equal(inside, outside)
    assert always_is != inside_is != outside_is != always_is


def test_roles_are_part_of_what_a_curve_is_and_a_curve_may_change_them(compose_evaluation):
    role = of_one_role("sampling.sr1.thresholding=static")
    change = "+guidance.curves={plain: {}, more: {sampling: {sr1: {sampler: {num_steps: 5}}}}}"
    plan = make_plan(compose_evaluation("guidance=curves", "guidance.weights=[2]", change, role))
    plain, more = (plan.identities[label]["stages"] for label in ("plain", "more"))
    assert plain[0] == more[0]
    assert [stage["thresholding"]["_target_"].rsplit(".", 1)[-1] for stage in plain] == [
        "DynamicThresholding", "StaticThresholding",
    ]  # fmt: skip
    assert (plain[1]["sampler"]["num_steps"], more[1]["sampler"]["num_steps"]) == (2, 5)
    assert not np.array_equal(pictures(plan, "plain", 2), pictures(plan, "more", 2))


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["guidance=sweep_steps", "sampling.base.sampler.num_steps=1"],
            "sampling.base.sampler.num_steps overrides guidance.curves.'4 steps'.sampler: leave one of them out",
        ),
        (
            ["guidance=sweep_steps", "sampling.base.sampler=ddpm"],
            "sampling.base.sampler overrides guidance.curves.'4 s",
        ),
        (
            ["guidance=sweep_sr", "sampling.sr1.aug_level=0.2"],
            "sampling.sr1.aug_level overrides guidance.curves.'aug 0'.cascade.aug_level: leave one of them out",
        ),
        (
            ["guidance=sweep_thresholding", "sampling.sr1.thresholding=static"],
            "sampling.sr1.thresholding overrides guidance.curves.'none'.thresholding: leave one of them out",
        ),
        (
            ["sampling.base.thresholding.percentile=0.9"],
            "sampling.base.thresholding.percentile overrides guidance.curves.'dynamic'.thresholding: leave one of them",
        ),
        (
            ["+guidance.curves.more.sr_guidance=3", "sampling.sr1.guidance_weight=2"],
            "sampling.sr1.guidance_weight overrides guidance.curves.'more'.sr_guidance: leave one of them out",
        ),
    ],
)
def test_a_setting_of_one_stage_that_would_undo_what_a_curve_changes_is_refused(compose_evaluation, overrides, line):
    with pytest.raises(UserError) as caught:
        make_plan(compose_evaluation(*map(of_one_role, overrides)))
    assert str(caught.value).startswith(line)


def test_a_setting_of_one_stage_that_a_curve_leaves_alone_or_sets_again_is_of_that_stage(compose_evaluation):
    role = [of_one_role("sampling.sr1.sampler.num_steps=1"), of_one_role("sampling.base.sampler=ddpm")]
    steps = make_plan(compose_evaluation("guidance=sweep_steps", role[0]))
    assert {identity["stages"][1]["sampler"]["num_steps"] for identity in steps.identities.values()} == {1}
    again = "+guidance.curves={a: {sampler: {num_steps: 3}, sampling: {base: {sampler: {num_steps: 4}}}}}"
    plan = make_plan(compose_evaluation("guidance=curves", again, role[1]))
    assert plan.identities["a"]["stages"][0]["sampler"]["num_steps"] == 4


def test_two_curves_of_the_same_pictures_are_refused(compose_evaluation):
    with pytest.raises(UserError, match=r"^guidance\.curves: 'dynamic' and 'again' are sampled in the same way; "):
        make_plan(compose_evaluation("+guidance.curves.again={}"))


def test_a_sweep_moves_the_weights_that_no_role_fixes(compose_evaluation):
    fixed = of_one_role("sampling.base.guidance_weight=2.5")
    plan = make_plan(compose_evaluation("guidance=sweep_sr", fixed))
    weights = [stage["guidance_weight"] for stage in plan.identities["aug 0"]["stages"]]
    assert weights == [2.5, None]
    for sweep, role in (("sweep", "base"), ("sweep_sr", "sr1")):
        config = compose_evaluation(f"guidance={sweep}", of_one_role(f"sampling.{role}.guidance_weight=2"))
        with pytest.raises(UserError, match=r"the sweep moves no stage; choose the other one, or leave out sampling"):
            make_plan(config)


def test_a_curve_is_identified_as_it_always_was(compose_evaluation, stages):
    """By these values the pictures of an evaluation are found again, also those that an earlier version made."""
    plan = make_plan(compose_evaluation("guidance=sweep", "sampler=ddpm", "guidance_rule=interval", "sr_guidance=2"))
    base, sr1 = plan.identities["static"]["stages"]
    shared = {
        "weights": "averaged", "seed": 0, "autocast": base["autocast"], "device": "cpu",
        "thresholding": {"_target_": "imagen.diffusion.thresholding.StaticThresholding"},
        "guidance_rule": {
            "_target_": "imagen.diffusion.guidance.IntervalGuidance", "log_snr_min": -0.95, "log_snr_max": 2.52,
            "rescale": 0.0, "batched": True,
        },
    }  # fmt: skip
    spacing = {"_target_": "imagen.diffusion.spacing.UniformTime"}
    ddpm = {"_target_": "imagen.diffusion.samplers.DDPMSampler", "num_steps": 2, "spacing": spacing, "gamma": 0.0}
    solver = {"_target_": "imagen.diffusion.samplers.DPMSolverPP2M", "num_steps": 2, "spacing": spacing}
    descriptions = [read_description(Path(folder)) for folder in stages]
    hashes = [{"stage_sha256": fingerprint(one.identity), "weights_sha256": one.weights_sha256} for one in descriptions]
    assert base == shared | hashes[0] | {"guidance_weight": None, "sampler": ddpm}
    assert sr1 == shared | hashes[1] | {"guidance_weight": 2.0, "sampler": solver, "aug_level": 0.1}
