import math

import pytest
import torch
from exact_denoisers import GAUSSIAN, TWO_PEAKS, ExactNetwork, Mixture, constant_level, some_text

import imagen.diffusion.samplers as samplers
from imagen.diffusion.denoiser import Denoiser
from imagen.diffusion.guidance import ClassifierFreeGuidance
from imagen.diffusion.parameterisations import EpsPrediction, FlowPrediction, VPrediction, X0Prediction
from imagen.diffusion.samplers import DDIMSampler, DDPMSampler, DPMSolverPP2M, HeunSampler
from imagen.diffusion.schedules import CosineSchedule, FlowSchedule, LinearSchedule, ShiftedSchedule
from imagen.diffusion.spacing import RhoSpacing, UniformLogSNR, UniformTime
from imagen.diffusion.thresholding import DynamicThresholding, StaticThresholding
from imagen.diffusion.weightings import UnweightedLoss
from imagen.errors import UserError
from imagen.randomness import make_generator, randn_per_image

DETERMINISTIC = [DDIMSampler, DPMSolverPP2M, HeunSampler]
ALL = [DDPMSampler, *DETERMINISTIC]
BOUNDED = CosineSchedule(-9.0, 11.0)  # narrower than usual, so that few steps are enough to see the order


def generators(count, key="picture"):
    return [make_generator(0, key, index) for index in range(count)]


def noise_of(count, shape=(3, 8, 8), dtype=torch.float64):
    return randn_per_image(generators(count, "noise"), shape).to(dtype)


def path_error(sampler, mixture, schedule):
    """Distance to where the exact probability flow takes the same noise."""
    noise = noise_of(2)
    exact = mixture.transport(noise, sampler.log_snrs(schedule)[0])
    return (sampler(mixture.denoise, schedule, noise, generators(2)) - exact).square().mean().sqrt().item()


@pytest.mark.parametrize("mixture", [GAUSSIAN, TWO_PEAKS])
@pytest.mark.parametrize("spacing", [UniformLogSNR(), RhoSpacing(sigma_min=math.exp(-5.5), sigma_max=math.exp(4.5))])
@pytest.mark.parametrize(("sampler", "order"), [(DDIMSampler, 1), (DPMSolverPP2M, 2), (HeunSampler, 2)])
def test_deterministic_samplers_converge_to_the_exact_flow_with_their_order(sampler, order, spacing, mixture):
    def error(num_steps):
        return path_error(sampler(num_steps, spacing), mixture, BOUNDED)

    coarse, fine = error(40), error(80)
    assert fine < {1: 2e-2, 2: 2e-3}[order]
    assert order - 0.2 < math.log2(coarse / fine) < order + 0.3


@pytest.mark.parametrize(
    "schedule",
    [CosineSchedule(), LinearSchedule(), FlowSchedule(3.0), ShiftedSchedule(CosineSchedule(), 128)],
    ids=lambda schedule: type(schedule).__name__,
)
@pytest.mark.parametrize("sampler", DETERMINISTIC)
def test_uniform_time_converges_to_the_exact_flow_on_every_schedule(sampler, schedule):
    errors = [path_error(sampler(num_steps, UniformTime()), TWO_PEAKS, schedule) for num_steps in (25, 100)]
    assert errors[1] < min(0.02, errors[0] / 3)


def variance_of_ancestral_samples(num_steps, gamma, spacing, schedule, monkeypatch):
    """The exact variance of the samples of N(0, 0.5²): the sum of the squared responses to each draw of noise.

    The optimal denoiser of a centred Gaussian is linear, so the sample is a weighted sum of the independent draws.
    Image k of the batch gets 1 from draw k and 0 from all others; its sample is the weight of that draw.
    """
    draws = iter(torch.eye(num_steps, dtype=torch.float64))
    shape = (num_steps, 1, 1, 1)
    monkeypatch.setattr(samplers, "randn_per_image", lambda generators, *_: next(draws).reshape(shape))
    first = next(draws).reshape(shape)
    sampler = DDPMSampler(num_steps, spacing, gamma=gamma)
    weights = sampler(Mixture((0.0,), 0.5).denoise, schedule, first, generators(num_steps))
    assert next(draws, None) is None, "one draw for each step but the last"
    return weights.square().sum().item()


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("spacing", "schedule"), [(UniformLogSNR(), BOUNDED), (UniformTime(), CosineSchedule())])
def test_ancestral_samples_converge_to_the_variance_of_the_data_with_order_one(gamma, spacing, schedule, monkeypatch):
    def error(num_steps):
        return abs(variance_of_ancestral_samples(num_steps, gamma, spacing, schedule, monkeypatch) - 0.25)

    coarse, fine = error(64), error(128)
    assert fine < 0.02
    assert 0.8 < math.log2(coarse / fine) < 1.2


def test_a_larger_gamma_adds_more_noise(monkeypatch):
    variances = [
        variance_of_ancestral_samples(16, gamma, UniformTime(), CosineSchedule(), monkeypatch)
        for gamma in (0.0, 0.5, 1.0)
    ]
    assert variances == sorted(variances)
    assert variances[0] < 0.25 < variances[2]


def test_ancestral_samples_follow_both_peaks_of_a_mixture():
    noise = noise_of(4, (3, 32, 32), torch.float32)
    pixels = DDPMSampler(100, UniformTime())(TWO_PEAKS.denoise, CosineSchedule(), noise, generators(4))
    pixels = pixels.reshape(-1, 1, 1, 1).sort(dim=0).values
    quantiles = TWO_PEAKS.cdf(pixels, constant_level(60.0, pixels))
    uniform = (torch.arange(pixels.numel()) + 0.5) / pixels.numel()
    assert (quantiles.flatten() - uniform).abs().max() < 0.02  # Kolmogorov-Smirnov distance; 5 % point is 0.012


@pytest.mark.parametrize("sampler", ALL)
@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_what_the_network_predicts_does_not_change_the_pictures(sampler, weight):
    noise = noise_of(2, dtype=torch.float32)
    guidance, text, thresholding = ClassifierFreeGuidance(weight), some_text(2), DynamicThresholding()

    def pictures(parameterisation):
        denoiser = Denoiser(ExactNetwork(TWO_PEAKS, parameterisation), parameterisation, UnweightedLoss())
        return sampler(12, UniformTime())(
            lambda z, level: thresholding(guidance(denoiser, z, level, text)),
            CosineSchedule(-10.0, 10.0),
            noise,
            generators(2),
        )

    expected = pictures(X0Prediction())
    for parameterisation in (EpsPrediction(), VPrediction(), FlowPrediction()):
        torch.testing.assert_close(pictures(parameterisation), expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("sampler", DETERMINISTIC)
@pytest.mark.parametrize("spacing", [UniformLogSNR(), RhoSpacing()])
def test_all_deterministic_samplers_end_at_the_same_pictures(sampler, spacing):
    noise = noise_of(2)
    start = spacing(CosineSchedule(), 1)[0].item()
    pictures = sampler(200, spacing)(TWO_PEAKS.denoise, CosineSchedule(), noise, generators(2))
    torch.testing.assert_close(pictures, TWO_PEAKS.transport(noise, start), atol=5e-2, rtol=0)


@pytest.mark.parametrize("sampler", ALL)
def test_picture_i_does_not_depend_on_the_other_pictures_of_the_batch(sampler):
    noise = noise_of(4, dtype=torch.float32)
    together = sampler(6)(GAUSSIAN.denoise, CosineSchedule(), noise, generators(4))
    for index in range(4):
        alone = sampler(6)(GAUSSIAN.denoise, CosineSchedule(), noise[index : index + 1], [generators(4)[index]])
        torch.testing.assert_close(alone[0], together[index], atol=1e-6, rtol=0)


def test_deterministic_samplers_leave_the_generators_alone_and_ancestral_sampling_does_not():
    for sampler in ALL:
        used = generators(2)
        sampler(3)(GAUSSIAN.denoise, CosineSchedule(), noise_of(2, dtype=torch.float32), used)
        untouched = [torch.equal(a.get_state(), b.get_state()) for a, b in zip(used, generators(2), strict=True)]
        assert untouched == [sampler is not DDPMSampler] * 2


@pytest.mark.parametrize(
    ("sampler", "calls"), [(DDPMSampler, 7), (DDIMSampler, 7), (DPMSolverPP2M, 7), (HeunSampler, 13)]
)
def test_the_denoiser_is_asked_at_float32_levels_and_its_last_answer_is_the_picture(sampler, calls):
    asked = []

    def denoise(z, level):
        assert level.log_snr.dtype == z.dtype == torch.float32
        assert level.log_snr.shape == (3,)
        assert level.log_snr.unique().numel() == 1
        asked.append(level.log_snr[0].item())
        return torch.full_like(z, 0.01 * len(asked))

    pictures = sampler(7)(denoise, CosineSchedule(), noise_of(3, dtype=torch.float32), generators(3))
    assert len(asked) == calls
    assert asked == sorted(asked)
    assert torch.equal(pictures, torch.full_like(pictures, 0.01 * calls))


@pytest.mark.parametrize("sampler", ALL)
def test_one_step_is_one_question_about_pure_noise(sampler):
    noise = noise_of(2, dtype=torch.float32)
    pictures = sampler(1)(TWO_PEAKS.denoise, CosineSchedule(), noise, generators(2))
    torch.testing.assert_close(pictures, TWO_PEAKS.denoise(noise, constant_level(-15.0, noise)))


@pytest.mark.parametrize("sampler", DETERMINISTIC)
def test_the_noise_is_that_implied_by_the_thresholded_image(sampler):
    """If x0 is the same at every level, eps implied by it never changes: z stays on the straight line between them."""
    noise = noise_of(2)
    clipped = StaticThresholding()(3 * noise_of(2).flip(0))
    schedule, seen = CosineSchedule(-10.0, 10.0), []

    def denoise(z, level):
        seen.append((z - level.alpha * clipped) / level.sigma)
        return clipped

    assert torch.equal(sampler(8)(denoise, schedule, noise, generators(2)), clipped)
    for eps in seen:
        torch.testing.assert_close(eps, seen[0])


@pytest.mark.parametrize("sampler", ALL)
@pytest.mark.parametrize("num_steps", [0, -3])
def test_an_impossible_number_of_steps_is_refused_with_its_value(sampler, num_steps):
    with pytest.raises(UserError, match=f"num_steps of the sampler is {num_steps}"):
        sampler(num_steps)


@pytest.mark.parametrize("gamma", [-0.1, 1.1, math.nan])
def test_an_impossible_gamma_is_refused_with_its_value(gamma):
    with pytest.raises(UserError, match=f"gamma of the DDPM sampler is {gamma}"):
        DDPMSampler(4, gamma=gamma)
