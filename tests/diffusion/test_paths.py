"""Paths that do not begin with pure noise, or go back: image to image, and RePaint's resampling."""

import pytest
import torch
from exact_denoisers import GAUSSIAN

from imagen.diffusion.samplers import (
    DDIMSampler,
    DDPMSampler,
    DPMSolverPP2M,
    HeunSampler,
    add_back,
    alpha,
    level_of,
    sigma,
)
from imagen.diffusion.schedules import CosineSchedule
from imagen.diffusion.spacing import UniformTime, beginning_at, resampled
from imagen.randomness import make_generator, randn_per_image

SCHEDULE = CosineSchedule(-9.0, 11.0)
SAMPLERS = [DDPMSampler, DDIMSampler, DPMSolverPP2M, HeunSampler]


def generators(count):
    return [make_generator(0, "picture", i) for i in range(count)]


def test_a_path_from_a_level_has_the_cleaner_levels_of_the_whole_path():
    assert beginning_at([-3.0, -1.0, 2.0], -2.0) == [-2.0, -1.0, 2.0]
    assert beginning_at([-3.0, -1.0, 2.0], -1.0) == [-1.0, 2.0]
    assert beginning_at([-3.0, -1.0, 2.0], 9.0) == [9.0]


def test_a_resampled_path_takes_every_step_several_times():
    assert resampled([-3.0, -1.0, 2.0], 1) == [-3.0, -1.0, 2.0]
    assert resampled([-3.0, -1.0, 2.0], 3) == [-3.0, -1.0, -3.0, -1.0, -3.0, -1.0, 2.0, -1.0, 2.0, -1.0, 2.0]


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("times", [1, 3])
def test_a_sampler_says_how_often_it_asks_for_x0(kind, times):
    asked = []

    def denoise(z, level):
        asked.append(float(level.log_snr[0]))
        return GAUSSIAN.denoise(z, level)

    sampler, path = kind(4), resampled(kind(4).log_snrs(SCHEDULE), times)
    noise = randn_per_image(generators(2), (3, 2, 2))
    sampler.walk(denoise, path, noise, generators(2))
    assert len(asked) == sampler.evaluations(path) == 1 + 3 * times * (2 if kind is HeunSampler else 1)


@pytest.mark.parametrize("kind", SAMPLERS)
def test_going_back_and_on_again_leaves_the_distribution_as_it_was(kind):
    """With the exact denoiser, resampled pictures have the mean and the spread of the data."""
    sampler = kind(24, UniformTime())
    noise = randn_per_image(generators(400), (3, 4, 4))
    path = resampled(sampler.log_snrs(SCHEDULE), 2)
    pictures = sampler.walk(GAUSSIAN.denoise, path, noise, generators(400))
    plain = sampler.walk(GAUSSIAN.denoise, sampler.log_snrs(SCHEDULE), noise, generators(400))
    assert pictures.mean().item() == pytest.approx(plain.mean().item(), abs=0.02)
    assert pictures.std().item() == pytest.approx(plain.std().item(), rel=0.05)
    assert (pictures - plain).abs().mean() > 0.05  # and they are other pictures


def test_noise_is_added_as_the_forward_process_adds_it():
    x0 = torch.full((600, 3, 4, 4), 0.7)
    here, there = 1.0, -2.0
    z = level_of(x0, here).add_noise(x0, randn_per_image(generators(600), (3, 4, 4)))
    back = add_back(z, here, there, [make_generator(1, "back", i) for i in range(600)])
    assert back.mean().item() == pytest.approx(alpha(there) * 0.7, abs=0.02)
    assert back.std().item() == pytest.approx(sigma(there), rel=0.02)


def test_a_step_back_makes_a_multistep_sampler_forget_the_step_before():
    """DPM-Solver++(2M) extrapolates from the step before; after a step back that one is of another z."""
    sampler, noise = DPMSolverPP2M(3), randn_per_image(generators(1), (3, 2, 2))
    low, middle, high = sampler.log_snrs(SCHEDULE)
    first = [make_generator("a")]
    z, _ = sampler.step(GAUSSIAN.denoise, noise, low, middle, first, None)
    z = add_back(z, middle, low, first)
    z, _ = sampler.step(GAUSSIAN.denoise, z, low, middle, first, None)
    expected = GAUSSIAN.denoise(z, level_of(z, middle))
    found = sampler.walk(GAUSSIAN.denoise, [low, middle, low, middle], noise, [make_generator("a")])
    assert torch.equal(found, expected)
    assert high > middle
