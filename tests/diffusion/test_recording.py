import pytest
import torch
from exact_denoisers import GAUSSIAN

from imagen.diffusion.recording import Moment, evenly, recording
from imagen.diffusion.samplers import DDIMSampler, DDPMSampler, DPMSolverPP2M, HeunSampler
from imagen.diffusion.schedules import CosineSchedule
from imagen.randomness import make_generator, randn_per_image

SCHEDULE = CosineSchedule(-9.0, 11.0)


def sampled(sampler):
    noise = randn_per_image([make_generator(0, "noise", i) for i in range(2)], (3, 4, 4))
    return sampler(GAUSSIAN.denoise, SCHEDULE, noise, [make_generator(0, "picture", i) for i in range(2)])


@pytest.mark.parametrize("kind", [DDPMSampler, DDIMSampler, DPMSolverPP2M, HeunSampler])
def test_a_recorded_sampler_gives_the_same_pictures_and_every_estimate(kind):
    recorder = recording(kind(6))
    assert torch.equal(sampled(recorder), sampled(kind(6)))
    assert torch.equal(recorder.moments[-1].x0, sampled(kind(6)))
    assert len(recorder.moments) == (11 if kind is HeunSampler else 6)
    asked = [moment.log_snr for moment in recorder.moments]
    assert asked == sorted(asked)
    assert sorted(set(asked)) == pytest.approx(kind(6).log_snrs(SCHEDULE), rel=1e-5)


@pytest.mark.parametrize(
    ("total", "count", "kept"),
    [(6, 3, [0, 2, 5]), (6, 8, [0, 1, 2, 3, 4, 5]), (6, 2, [0, 5]), (6, 1, [5]), (1, 4, [0]), (0, 4, [])],
)
def test_moments_are_spread_evenly_with_both_ends(total, count, kept):
    moments = [Moment(float(i), torch.zeros(1, 3, 2, 2)) for i in range(total)]
    assert [moment.log_snr for moment in evenly(moments, count)] == kept
