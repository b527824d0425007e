"""What a student of a denoiser learns, on denoisers that are known exactly."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from exact_denoisers import GAUSSIAN, TWO_PEAKS, ExactNetwork, constant_level, some_text

from imagen.diffusion.conditioning import Conditioning
from imagen.diffusion.denoiser import Denoiser
from imagen.diffusion.distillation.steps import OneEstimate, StepsInOne, ddim_step, student_target
from imagen.diffusion.distillation.teacher import GuidedTeacher
from imagen.diffusion.distillation.told import GUIDANCE, GuidanceWeight, ToldGuidance
from imagen.diffusion.guidance import ClassifierFreeGuidance
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.parameterisations import VPrediction
from imagen.diffusion.samplers import DDIMSampler, exponential_step
from imagen.diffusion.schedules import CosineSchedule, LinearSchedule
from imagen.diffusion.spacing import RhoSpacing, UniformLogSNR, UniformTime
from imagen.diffusion.thresholding import DynamicThresholding, NoThresholding, StaticThresholding
from imagen.diffusion.weightings import UnweightedLoss
from imagen.errors import UserError
from imagen.randomness import make_generator

BATCH, STEPS = 4, 5
SCHEDULES = [CosineSchedule(), LinearSchedule()]
SPACINGS = [UniformTime(), UniformLogSNR()]


def exact(mixture=TWO_PEAKS):
    return Denoiser(ExactNetwork(mixture, VPrediction()), VPrediction(), UnweightedLoss())


def told(weights):
    return Conditioning(some_text(len(weights)), **{GUIDANCE: GuidanceWeight(torch.tensor(weights))})


def noisy(key=0):
    return torch.randn(BATCH, 3, 4, 4, generator=make_generator("z", key), dtype=torch.float64)


def teaching(weight=3.0, thresholding=None, mixture=TWO_PEAKS):
    """(z, level) -> x0 of a guided teacher."""
    teacher = GuidedTeacher(exact(mixture), thresholding or NoThresholding(), told=False)
    conditioning = told([weight] * BATCH)
    return lambda z, level: teacher(z, level, conditioning)


def path_of(lesson, step):
    """The path of one step of the student, the same for each image, as far as it is no clean image."""
    paths = lesson.draw(STEPS * 64, make_generator("paths"))
    begins = lesson.sampler.log_snrs(lesson.schedule)[step]
    return paths[:, paths[0] == begins][:, :1].repeat(1, BATCH)


@pytest.mark.parametrize("spacing", SPACINGS, ids=lambda spacing: type(spacing).__name__)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
@pytest.mark.parametrize(("mixture", "in_one"), [(GAUSSIAN, 2), (TWO_PEAKS, 2), (TWO_PEAKS, 4)])
def test_one_step_of_the_student_is_several_of_its_teacher(mixture, in_one, schedule, spacing):
    lesson, teach = StepsInOne(schedule, STEPS, spacing, in_one), teaching(mixture=mixture)
    teachers = DDIMSampler(in_one * STEPS, spacing)
    fine, coarse = teachers.log_snrs(schedule), lesson.sampler.log_snrs(schedule)
    assert coarse == fine[::in_one]
    for step in range(STEPS):
        z, paths = noisy(step), path_of(lesson, step)
        target = student_target(teach, z, paths)
        last = step == STEPS - 1
        walked = fine[in_one * step : in_one * step + in_one + 1]
        if last:
            mine, theirs = target, teachers.walk(teach, walked, z, [])
        else:
            mine, theirs = exponential_step(z, target, coarse[step], coarse[step + 1]), z
            for here, there in pairwise(walked):
                theirs, _ = teachers.step(teach, theirs, here, there, [], None)
        assert (mine - theirs).abs().max() < 1e-6, step
        assert (mine - z).abs().max() > 1e-3


def test_the_target_is_that_of_the_paper():
    """x̃ = (z'' - (sigma'' / sigma) z) / (alpha'' - (sigma'' / sigma) alpha), where z'' is after two steps."""
    lesson, teach, z = StepsInOne(CosineSchedule(), STEPS, UniformTime()), teaching(), noisy()
    paths = path_of(lesson, 2)
    here, middle, there = map(NoiseLevel, paths)
    after = ddim_step(z, teach(z, here), here, middle)
    after = ddim_step(after, teach(after, middle), middle, there)
    ratio = there.sigma / here.sigma
    written = (after - ratio * z) / (there.alpha - ratio * here.alpha)
    assert torch.allclose(student_target(teach, z, paths), written, atol=1e-9)


@pytest.mark.parametrize("thresholding", [NoThresholding(), StaticThresholding()])
def test_a_student_that_knows_its_lesson_makes_the_pictures_of_its_teacher_in_half_the_steps(thresholding):
    schedule, teach, noise = CosineSchedule(), teaching(4.0, thresholding), noisy()
    lesson = StepsInOne(schedule, STEPS, UniformTime())
    begins = lesson.sampler.log_snrs(schedule)

    def student(z, level):
        step = begins.index(level.log_snr[0].item())
        return student_target(teach, z, path_of(lesson, step))

    mine = lesson.sampler(student, schedule, noise, [])
    theirs = DDIMSampler(2 * STEPS)(teach, schedule, noise, [])
    assert (mine - theirs).abs().max() < 1e-6
    assert (mine - DDIMSampler(STEPS)(teach, schedule, noise, [])).abs().max() > 0.01


@pytest.mark.parametrize("batch_size", [STEPS, 3 * STEPS])
def test_a_batch_has_every_step_equally_often_and_in_any_order(batch_size):
    lesson = StepsInOne(CosineSchedule(), STEPS, UniformTime())
    orders = [lesson.draw(batch_size, make_generator(key))[0].tolist() for key in range(5)]
    for order in orders:
        assert sorted(order) == sorted(lesson.sampler.log_snrs(lesson.schedule) * (batch_size // STEPS))
    assert len(set(map(tuple, orders))) > 1
    assert orders[0] == lesson.draw(batch_size, make_generator(0))[0].tolist()


def test_the_last_step_ends_at_the_clean_image():
    paths = StepsInOne(CosineSchedule(), 1, UniformTime()).draw(3, make_generator("any"))
    assert paths[2].tolist() == [math.inf] * 3
    assert (paths.diff(dim=0) > 0).all()


def test_the_first_student_learns_all_levels_that_64_steps_begin_at_and_none_that_is_cleaner():
    drawn = OneEstimate(CosineSchedule()).draw(6400, make_generator("any"))[0]
    walked = torch.tensor(DDIMSampler(64).log_snrs(CosineSchedule()), dtype=torch.float64)
    assert drawn.max().item() == pytest.approx(walked[-1].item())
    assert drawn.min() < walked[1]
    shares = torch.histogram(drawn.clamp(min=walked[0]), walked).hist / 6400  # equal times, equal shares
    assert torch.allclose(shares[:-1], torch.full_like(shares[:-1], 1 / 64), atol=5e-3)


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_the_target_of_the_first_student_is_the_guided_estimate(weight):
    z = noisy()
    paths = OneEstimate(CosineSchedule()).draw(BATCH, make_generator("any"))
    assert len(set(paths[0].tolist())) == BATCH
    level, teach = NoiseLevel(paths[0]), teaching(weight, StaticThresholding())
    guided = ClassifierFreeGuidance(weight)(exact(), z, level, some_text(BATCH)).clamp(-1, 1)
    assert torch.allclose(student_target(teach, z, paths), guided)
    conditional = exact()(z, level, some_text(BATCH)).clamp(-1, 1)
    assert torch.allclose(guided, conditional) == (weight == 1)


def test_each_image_is_guided_by_its_own_weight_and_thresholded():
    weights, z, thresholding = [1.0, 2.0, 4.0, 8.0], noisy(), DynamicThresholding(0.9)
    level = constant_level(0.5, z)
    together = GuidedTeacher(exact(), thresholding, told=False)(z, level, told(weights))
    for row, weight in enumerate(weights):
        alone = ClassifierFreeGuidance(weight)(exact(), z, level, some_text(BATCH))
        assert torch.allclose(together[row], thresholding(alone)[row])
    assert together.abs().max() <= 1


def test_a_teacher_is_asked_as_often_as_needed():
    """Twice with and without the caption, once where no image is guided, once if it is a student itself."""
    z = noisy()
    for weights, guided, images in (([1.0, 2.0] * 2, True, 2 * BATCH), ([1.0] * 4, False, BATCH)):
        denoiser = exact()
        GuidedTeacher(denoiser, NoThresholding(), told=False, guided=guided)(z, constant_level(0.0, z), told(weights))
        assert denoiser.network.images == images
    seen = []

    def student(z, level, conditioning):
        seen.append(conditioning[GUIDANCE].weight.tolist())
        return 3 * z

    x0 = GuidedTeacher(student, StaticThresholding(), told=True)(z, constant_level(0.0, z), told([1.0, 2.0, 3.0, 4.0]))
    assert seen == [[1.0, 2.0, 3.0, 4.0]]
    assert torch.equal(x0, (3 * z).clamp(-1, 1))


def test_targets_of_thresholded_estimates_are_images():
    paths = StepsInOne(CosineSchedule(), STEPS, UniformTime()).draw(BATCH, make_generator("any"))
    assert student_target(teaching(8.0, StaticThresholding()), noisy(), paths).abs().max() <= 1
    assert student_target(teaching(8.0), noisy(), paths).abs().max() > 1


def test_a_told_stage_is_guided_by_one_pass_that_is_told_the_weight():
    seen, z = [], noisy()

    def student(z, level, conditioning):
        seen.append(conditioning)
        return z

    ToldGuidance(2.5)(student, z, constant_level(0.0, z), told([1.0] * BATCH))
    (conditioning,) = seen
    assert conditioning[GUIDANCE].weight.tolist() == [2.5] * BATCH
    assert conditioning["text"].mask.all()
    assert conditioning.without(GUIDANCE)[GUIDANCE].weight.tolist() == [1.0] * BATCH


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_steps": 0}, r"steps=0 of a student must be a whole number of at least 1"),
        ({"in_one": 1}, r"steps_in_one=1 of a student must be a whole number of at least 2"),
        (
            {"spacing": RhoSpacing(), "in_one": 3},
            r"RhoSpacing places 12 steps of a teacher elsewhere than 4 of its student: choose",
        ),
    ],
)
def test_steps_that_do_not_fit_into_each_other_are_refused(changes, message):
    lesson = StepsInOne(CosineSchedule(), 4, UniformTime())
    with pytest.raises(UserError, match=message):
        replace(lesson, **changes)
