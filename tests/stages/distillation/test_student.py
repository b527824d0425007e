"""A student as a stage: what it begins as, what it learns, what it keeps, which teachers it takes."""

import pytest
import torch
from small_stages import TEXT as FINGERPRINT
from small_stages import denoiser_config
from students import (
    BATCH,
    SPACING,
    TEXT,
    UP_TO,
    export_student,
    export_teacher,
    fit,
    student_of,
)

from imagen.cascade.settings import SamplingSettings
from imagen.cascade.stage import passes, sample_images
from imagen.diffusion.conditioning import Conditioning
from imagen.diffusion.distillation.steps import student_target
from imagen.diffusion.distillation.told import ToldGuidance
from imagen.diffusion.guidance import ClassifierFreeGuidance, IntervalGuidance
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.samplers import DDIMSampler
from imagen.diffusion.schedules import CosineSchedule
from imagen.diffusion.spacing import UniformLogSNR
from imagen.diffusion.thresholding import NoThresholding, StaticThresholding
from imagen.errors import UserError
from imagen.inputs.negative import negative_for_each
from imagen.instantiation import instantiate_stage_part
from imagen.randomness import make_generator
from imagen.runs.fine_tuning import begin_with
from imagen.stages.conditioners import LowResConditioner, PictureConditioner, TextConditioner
from imagen.stages.distillation.guidance_conditioner import GuidanceConditioner, told_up_to
from imagen.stages.export import load_stage


@pytest.fixture
def teacher(tmp_path):
    return export_teacher(tmp_path / "teacher")


def sampled(model, weight: float):
    settings = SamplingSettings(DDIMSampler(3), ClassifierFreeGuidance(weight), StaticThresholding())
    generators = [make_generator(i) for i in range(len(TEXT))]
    with torch.no_grad():
        return sample_images(model, Conditioning(text=TEXT), settings, generators)


def test_before_training_it_makes_its_teachers_pictures_whatever_weight_it_is_told(teacher):
    student = student_of(teacher)
    begin_with(student, teacher, FINGERPRINT)
    theirs = sampled(load_stage(teacher).model, 1.0)
    for weight in (1.0, 3.0, UP_TO):
        assert torch.equal(sampled(student.averaged(), weight), theirs)
    student.ema.module.network.embedding.guidance[-1].weight.data.fill_(0.1)
    assert not torch.equal(sampled(student.averaged(), 3.0), theirs)
    assert not torch.equal(sampled(student.averaged(), 3.0), sampled(student.averaged(), 4.0))


def test_a_student_of_a_student_begins_with_what_that_one_was_told(tmp_path):
    before = export_student(tmp_path / "student", steps=None)
    student = student_of(before, steps=4)
    begin_with(student, before, FINGERPRINT)
    for weight in (1.0, 3.0):
        assert torch.equal(sampled(student.averaged(), weight), sampled(load_stage(before).model, weight))
    assert not torch.equal(sampled(student.averaged(), 1.0), sampled(student.averaged(), 3.0))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("steps", [None, 4])
def test_the_loss_is_the_weighted_distance_of_the_estimates_to_the_target(steps, training, teacher):
    student = student_of(teacher, steps)
    losses, log_snr = student._losses(student.denoiser, BATCH, make_generator("any"), training)
    generator = make_generator("any")
    paths = student.lesson.draw(len(BATCH.images), generator)
    level = NoiseLevel(paths[0].float())
    z = level.add_noise(BATCH.images, torch.randn(BATCH.images.shape, generator=generator))
    conditioning = student.conditioner.for_training(BATCH, generator)
    target = student_target(lambda z, level: student.teach(z, level, conditioning), z, paths)
    error = (student.denoiser(z, level, conditioning) - target).square().mean(dim=(1, 2, 3))
    snr_plus_one = 1 + level.log_snr.exp()  # what the plain loss of v weighs the error of x0 with
    assert torch.equal(log_snr, level.log_snr)
    torch.testing.assert_close(losses, snr_plus_one * error, rtol=1e-3, atol=1e-5)


def test_gradients_reach_the_student_alone_and_the_teacher_is_no_part_of_it(teacher):
    student = student_of(teacher, steps=4)
    losses, _ = student._losses(student.denoiser, BATCH, make_generator("any"), training=True)
    losses.mean().backward()
    network = student.teacher.model.denoiser
    assert all(weight.grad is None and not weight.requires_grad for weight in network.parameters())
    assert not network.training
    with torch.no_grad():  # what is zero at first holds back the gradients of others
        for weight in student.denoiser.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    student._losses(student.denoiser, BATCH, make_generator("any"), training=True)[0].mean().backward()
    assert [name for name, weight in student.denoiser.named_parameters() if not weight.grad.any()] == []
    optimized = student.configure_optimizers()["optimizer"].param_groups[0]["params"]
    assert {id(weight) for weight in optimized} == {id(weight) for weight in student.denoiser.parameters()}
    assert {name.split(".")[0] for name in student.state_dict()} == {"denoiser", "ema"}


@pytest.mark.parametrize("steps", [None, 4])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(steps, teacher, tmp_path):
    whole = fit(student_of(teacher, steps), tmp_path, 4).state_dict()
    before = torch.cat([weight.flatten() for weight in student_of(teacher).teacher.model.denoiser.parameters()])
    fit(student_of(teacher, steps), tmp_path, 2)
    resumed = fit(student_of(teacher, steps), tmp_path, 4, resume=str(tmp_path / "last.ckpt"), start=2)
    assert all(torch.equal(tensor, resumed.state_dict()[name]) for name, tensor in whole.items())
    assert torch.equal(before, torch.cat([w.flatten() for w in resumed.teacher.model.denoiser.parameters()]))
    begun = student_of(teacher, steps).state_dict()
    assert not all(torch.equal(tensor, begun[name]) for name, tensor in whole.items())


def test_a_run_does_not_go_on_with_another_teacher(teacher, tmp_path):
    fit(student_of(teacher), tmp_path, 1)
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    student_of(teacher).on_load_checkpoint(content)
    content["taught_by"] = "f" * 64
    with pytest.raises(UserError, match=r"teacher: the run was taught by weights ffffffffffff…, and these are \w{12}…"):
        student_of(teacher).on_load_checkpoint(content)
    content["state_dict"].popitem()
    with pytest.raises(UserError, match=r"the checkpoint is of another network"):
        student_of(teacher).on_load_checkpoint(content)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 16}, r"teacher: has pictures of side 8, and this stage 16; choose them alike"),
        ({"schedule": CosineSchedule(-9.0, 9.0)}, r"teacher: has the noise schedule CosineSchedule\(log_snr_min=-15"),
        (
            {"conditioner": GuidanceConditioner(LowResConditioner(4, 8, CosineSchedule()), 8.0)},
            r"teacher: has an enlargement of 1, and this stage 2",
        ),
        ({"conditioner": TextConditioner()}, r"stage\.conditioner tells no guidance weight.*put .*GuidanceConditioner"),
        ({"text_dropout": 0.1}, r"stage\.text_dropout=0\.1: a student is told every caption; set it to 0"),
        ({"text_dropout": "much"}, r"stage\.text_dropout='much' must be a finite number"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(changes, message, teacher):
    with pytest.raises(UserError, match=message):
        student_of(teacher, **changes)


def test_a_self_conditioned_teacher_is_refused(tmp_path):
    denoiser = denoiser_config(low_res=False)
    denoiser["network"]["concatenated"] = ["estimate"]
    others = {"_target_": "imagen.stages.conditioners.TextConditioner"}
    conditioner = {"_target_": "imagen.stages.self_conditioner.SelfConditioner", "others": others}
    with pytest.raises(UserError, match=r"is told its own estimates, which distillation has not; choose a teacher"):
        student_of(export_teacher(tmp_path, denoiser=denoiser, conditioner=conditioner))


def test_a_network_that_is_not_told_the_weight_is_refused(teacher):
    student = student_of(teacher, denoiser=instantiate_stage_part(denoiser_config(low_res=False)))
    with pytest.raises(UserError, match=r"this network is not told the guidance weight and was given one"):
        student._losses(student.denoiser, BATCH, make_generator("any"), training=True)
    with pytest.raises(UserError, match=r"this network is told a guidance weight and was given none"):
        student_of(teacher).denoiser(BATCH.images, NoiseLevel(torch.zeros(6)), Conditioning(text=TEXT))


def test_a_missing_teacher_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"nowhere: no exported stage \(config\.json is missing\)"):
        student_of(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"stage\.teacher=null: give the folder of the exported stage to distil"):
        student_of(None)


def test_a_teacher_of_another_text_encoder_is_refused(teacher):
    student_of(teacher).reads(FINGERPRINT)
    with pytest.raises(UserError, match=r"trained on another text encoder than this run's \(max_length: 16, here 9\)"):
        student_of(teacher).reads({**FINGERPRINT, "max_length": 9})


@pytest.mark.parametrize(
    ("steps", "changes", "message"),
    [
        (4, {}, None),
        (
            None,
            {},
            r"was made for 8 steps, which must be stage\.steps times .*: set stage\.steps=4, stage\.steps_in_one=2",
        ),
        (8, {}, r"was made for 8 steps"),
        (2, {}, r"was made for 8 steps"),
        (2, {"steps_in_one": 4}, None),
        (4, {"steps_in_one": 4}, r"was made for 8 steps"),
        (4, {"spacing": UniformLogSNR()}, r"was made for 8 steps.* and the stage\.spacing of the teacher"),
        (
            4,
            {"conditioner": GuidanceConditioner(TextConditioner(), 9.0)},
            r"was told guidance weights up to 8, and this stage is to be told some up to 9; set stage\.conditioner\.up",
        ),
    ],
)
def test_a_student_makes_its_share_of_the_steps_of_a_student(steps, changes, message, tmp_path):
    before = export_student(tmp_path, steps=8)
    if message is None:
        assert student_of(before, steps, **changes).teach.told
        return
    with pytest.raises(UserError, match=message):
        student_of(before, steps, **changes)


def test_a_student_that_only_guides_may_teach_any_number_of_steps(tmp_path):
    before = export_student(tmp_path, steps=None)
    for steps in (None, 3, 8):
        student_of(before, steps)


def model_of(tmp_path, **options):
    return load_stage(export_student(tmp_path, **{"steps": 3, **options})).model


def test_weights_are_drawn_from_off_to_the_largest(teacher):
    conditioner = GuidanceConditioner(TextConditioner(), 8.0)
    for draw in (conditioner.for_training, conditioner.for_validation):
        drawn = torch.cat([draw(BATCH, make_generator(i))["guidance"].weight for i in range(300)])
        assert (drawn.min(), drawn.max()) == (pytest.approx(1, abs=0.02), pytest.approx(8, abs=0.02))
        assert (drawn.mean(), drawn.std()) == (pytest.approx(4.5, abs=0.1), pytest.approx(7 / 12**0.5, abs=0.1))
        assert torch.equal(drawn[:6], draw(BATCH, make_generator(0))["guidance"].weight)
    off = GuidanceConditioner(TextConditioner(), 1.0)
    assert off.for_training(BATCH, make_generator(0))["guidance"].weight.tolist() == [1.0] * 6


@pytest.mark.parametrize("up_to", [0.5, float("inf"), float("nan")])
def test_an_impossible_largest_weight_is_refused(up_to):
    with pytest.raises(UserError, match=rf"up_to={up_to}, the largest guidance weight .* must be at least 1"):
        GuidanceConditioner(TextConditioner(), up_to)


@pytest.mark.parametrize(
    ("guidance", "message"),
    [
        (ClassifierFreeGuidance(8.5), r"guidance weight 8\.5: this stage was distilled with weights of 1 \(off\) to 8"),
        (ClassifierFreeGuidance(0), r"guidance weight 0: this stage was distilled"),
        (ClassifierFreeGuidance(3, rescale=0.5), r"by ClassifierFreeGuidance: .* alone; choose .* with rescale=0"),
        (ClassifierFreeGuidance(3, without=["condition"]), r"by ClassifierFreeGuidance: a distilled stage knows plain"),
        (IntervalGuidance(3, -1, 1), r"guidance by IntervalGuidance: a distilled stage knows plain classifier-free"),
        (ClassifierFreeGuidance(8, batched=False, without=["text"]), None),
    ],
)
def test_a_student_is_sampled_by_the_weights_it_was_told_alone(guidance, message, tmp_path):
    model = model_of(tmp_path)
    settings = SamplingSettings(DDIMSampler(3), guidance, NoThresholding())
    if message is None:
        assert sample_images(model, Conditioning(text=TEXT), settings, [make_generator(i) for i in range(6)]).any()
        return
    with pytest.raises(UserError, match=message):
        sample_images(model, Conditioning(text=TEXT), settings, [make_generator(i) for i in range(6)])


def test_another_signal_around_it_changes_nothing():
    conditioner = PictureConditioner(GuidanceConditioner(TextConditioner(), 8.0))
    assert told_up_to(conditioner) == 8
    assert conditioner.rule(ClassifierFreeGuidance(3.0)) == ToldGuidance(3.0)
    plain = PictureConditioner(TextConditioner())
    assert told_up_to(plain) is None
    assert plain.rule(ClassifierFreeGuidance(3.0)) == ClassifierFreeGuidance(3.0)


def test_a_student_makes_one_pass_a_step(tmp_path, monkeypatch):
    model, rows = model_of(tmp_path), []
    forward = model.denoiser.forward
    monkeypatch.setattr(model.denoiser, "forward", lambda z, *args: rows.append(len(z)) or forward(z, *args))
    assert passes(model, SamplingSettings(DDIMSampler(3), ClassifierFreeGuidance(3.0), StaticThresholding())) == 3
    assert rows == []
    sampled(model, 3.0)
    assert rows == [6, 6, 6]


def test_a_negative_prompt_is_refused(tmp_path):
    text = type(TEXT)(TEXT.values, TEXT.mask, without=TEXT)
    settings = SamplingSettings(DDIMSampler(3), ClassifierFreeGuidance(3.0), NoThresholding())
    with pytest.raises(UserError, match=r"^negative_prompt: a distilled stage makes one pass a step"):
        sample_images(model_of(tmp_path), Conditioning(text=text), settings, [make_generator(i) for i in range(6)])
    described = load_stage(tmp_path).description
    with pytest.raises(UserError, match=r"^negative_prompt: a distilled stage makes one pass a step"):
        negative_for_each("blue", 1, [settings], [described])
    ordinary = load_stage(export_teacher(tmp_path)).description
    assert negative_for_each("blue", 1, [settings], [ordinary, described]) == ["blue"]  # of those that are sampled


def test_spacing_and_network_are_said_in_the_export(tmp_path):
    described = load_stage(export_student(tmp_path, steps=3)).description.made_for
    assert described.sampler == {
        "_target_": "imagen.diffusion.samplers.DDIMSampler",
        "num_steps": 3,
        "spacing": SPACING,
    }
